"""Users in the directory: the real Dovecot on two stores, and a front end that sends each user to his mailHost."""

import imaplib
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from posthouse.testing.tiers import RunningInstance, free_port
from support.imap_tier import PASSWORD, Imap, dovecot_of, served_store
from support.interop_daemon import needs_root, open_folder
from support.slapd import MANAGER_PASSWORD, Slapd
from support.store_alone import deliver

pytestmark = needs_root
# Names for the two stores that resolve on every machine, one through Dovecot's own resolver.
HOSTS = ("localhost", "127.0.0.2")
BASE, HOSTED = "o=example.com,o=usergroup", "o=other.org,o=usergroup"


def person(uid: str, base: str, host: str, *lines: str) -> str:
    names = ("inetOrgPerson", "inetUser", "inetMailUser", "inetLocalMailRecipient")
    classes = "".join(f"objectClass: {name}\n" for name in names)
    return (
        f"dn: uid={uid},ou=People,{base}\n{classes}uid: {uid}\ncn: {uid}\nsn: {uid}\nuserPassword: {PASSWORD}\n"
        f"mailHost: {host}\n{''.join(line + chr(10) for line in lines)}\n"
    )


PEOPLE = (
    f"dn: o=usergroup\nobjectClass: organization\no: usergroup\n\n"
    f"dn: {BASE}\nobjectClass: organization\no: example.com\n\ndn: {HOSTED}\nobjectClass: organization\no: other.org\n\n"
    + person("JDoe", BASE, HOSTS[0], "mail: john.doe@example.com", "mailAlternateAddress: jd@example.com")
    + person("asmith", BASE, HOSTS[1], "mail: ann.smith@example.com", "mailUserStatus: overquota")
    + person("info", BASE, HOSTS[0], "mail: info@example.com")
    + person("info", HOSTED, HOSTS[1], "mail: info@other.org")
    + person("former", BASE, HOSTS[0], "mail: former@example.com", "mailUserStatus: deleted")
)


class Tier(NamedTuple):
    stores: list[RunningInstance]
    back_ends: list[Imap]
    front_end: Imap


@pytest.fixture(scope="module")
def tier() -> Iterator[Tier]:
    with open_folder("front") as folder:
        (folder / "slapd").mkdir()
        port = free_port("127.0.0.2")
        with (
            Slapd(folder / "slapd", PEOPLE) as slapd,
            served_store(folder, name="store1") as first,
            served_store(folder, name="store2") as second,
        ):
            look = ("--ldap", slapd.uri, "--base", BASE, "--domain", f"other.org={HOSTED}")
            back = (*look, "--trust", "127.0.0.0/8")
            (folder / "password").write_text(f"{MANAGER_PASSWORD}\n")
            bind = ("--bind-dn", slapd.manager("o=usergroup"), "--bind-password-file", str(folder / "password"))
            front = (*look, "--proxy", "--backend-port", str(port))
            with (
                dovecot_of(first, folder / "imap1", *back, "--mail-host", HOSTS[0], port=port) as one,
                dovecot_of(second, folder / "imap2", *back, *bind, "--mail-host", HOSTS[1], address=HOSTS[1], port=port) as two,
                dovecot_of(first, folder / "front", *front) as proxy,
            ):
                yield Tier([first, second], [one, two], proxy)


def inbox(imap: Imap, user: str, password: str = PASSWORD) -> bytes:
    """The subjects' octets of the INBOX."""
    with imap.login(user, password) as client:
        assert client.select()[0] == "OK"
        _, rows = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return b"".join(row[1] for row in rows if isinstance(row, tuple))


@pytest.mark.parametrize(
    ("login", "store", "owner"),
    [
        ("jdoe", 0, "jdoe"),
        ("john.doe@example.com", 0, "jdoe"),
        ("jd", 0, "jdoe"),
        ("ASmith@example.com", 1, "asmith"),
        ("info", 0, "info"),
        ("info@other.org", 1, "info@other.org"),
    ],
)
def test_one_address_to_log_in_for_users_of_two_stores(tier: Tier, login: str, store: int, owner: str) -> None:
    mark = f"for-{owner}-as-{login}"
    assert deliver(tier.stores[store], owner, mark) == [250]
    assert mark.encode() in inbox(tier.front_end, login)
    assert mark.encode() in inbox(tier.back_ends[store], login)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):  # it is no user of the other store
        inbox(tier.back_ends[1 - store], login)


def test_doveadm_knows_the_users_of_its_store(tier: Tier) -> None:
    conf = tier.back_ends[1].log.parent / "dovecot.conf"
    done = subprocess.run(["doveadm", "-c", str(conf), "user", "*"], capture_output=True, text=True, timeout=20, check=False)
    assert sorted(done.stdout.lower().split()) == ["asmith", "info@other.org"], done.stderr


@pytest.mark.parametrize(("login", "password"), [("jdoe", "wrong"), ("former", PASSWORD), ("nobody", PASSWORD), ("*", PASSWORD)])
def test_kept_out_of_both(tier: Tier, login: str, password: str) -> None:
    for imap in (tier.front_end, tier.back_ends[0]):
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            inbox(imap, login, password)
