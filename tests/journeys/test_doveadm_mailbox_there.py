"""`doveadm backup` to a store where the user has a mailbox already: refused, and what docs/dovecot.md then says to do."""


from support.imap_tier import dovecot_of, dsync, served_store
from support.interop_daemon import needs_root, open_folder
from support.store_alone import deliver, faults, subjects

pytestmark = needs_root

USER = "early"


def test_mail_that_came_too_early_is_taken_along() -> None:
    with (
        open_folder("doveadm") as folder, served_store(folder) as old,
        served_store(folder, name="store2") as new,
        dovecot_of(old, folder / "old", users=(USER,)),
        dovecot_of(new, folder / "new", users=(USER,)),
    ):
        here, there = folder / "old" / "dovecot.conf", folder / "new" / "dovecot.conf"
        assert deliver(old, USER, "mail-1", "mail-2") == [250] * 2
        assert deliver(new, USER, "too-early") == [250]
        tar = str(folder / "early.tar")
        new.command("store", "export", USER, tar)
        refused = dsync("backup", USER, here, there)
        assert refused.returncode == 75
        assert "INBOX can't be deleted" in refused.stderr
        assert subjects(old, USER) == ["mail-1", "mail-2"]
        new.command("store", "delete", USER)
        assert dsync("backup", USER, here, there).returncode == 0
        new.command("store", "import", USER, tar)
        assert subjects(new, USER) == ["mail-1", "mail-2", "too-early"]
        assert faults(new, USER) == faults(old, USER) == []
