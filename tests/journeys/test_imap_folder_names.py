"""`store.listescape` and the configuration printed for Dovecot belong together: names with dots are one folder for both."""

from support.imap_tier import dovecot_of, served_store
from support.interop_daemon import needs_root, open_folder
from support.store_alone import deliver, subjects

pytestmark = needs_root


def test_a_folder_with_dots_in_its_name() -> None:
    with open_folder("names") as folder, served_store(folder, "store.listescape = on") as store:
        assert deliver(store, "jdoe+v1.2", "first", options=("xdflg=1",)) == [250]
        with dovecot_of(store, folder / "dovecot", users=("jdoe",)) as imap, imap.login("jdoe") as client:
            assert client.select("v1.2") == ("OK", [b"1"])
            assert client.create("a.b/c.d")[0] == "OK"
            assert client.setacl("a.b/c.d", "anyone", "p")[0] == "OK"
            assert deliver(store, "jdoe+a.b/c.d", "second") == [250]
            assert client.select("a.b/c.d") == ("OK", [b"1"])


def test_off_a_name_with_a_dot_is_the_inbox_for_both() -> None:
    with open_folder("names") as folder, served_store(folder) as store:
        assert deliver(store, "jdoe+v1.2", "first", options=("xdflg=1",)) == [250]
        assert subjects(store, "jdoe") == ["first"]
        with dovecot_of(store, folder / "dovecot", users=("jdoe",)) as imap, imap.login("jdoe") as client:
            assert client.create("v1.2")[0] == "NO"
