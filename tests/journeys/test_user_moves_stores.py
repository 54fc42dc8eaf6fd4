"""A user's mailHost changes from store1 to store2 under load, as docs/dovecot.md and docs/deployments.md say: no message lost.

A client that has had its RCPT answered before, and sends its message when all seems done, is one of those who send.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from posthouse.testing.tiers import TwoTiers
from support import slapd
from support.family_rig import wait_for
from support.journey_mail import Load, body_of, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import journey, queued, wait_empty
from support.slapd import MANAGER_PASSWORD, Slapd, many_people

pytestmark = pytest.mark.skipif(not slapd.is_installed() or shutil.which("ldapmodify") is None, reason="slapd is not installed")
ROOT = "o=usergroup"
HOSTS = ("store1.example.com", "store2.example.com")
USER = ("--to", "user0@example.com")


def said(page: str, *lines: str) -> None:
    """The page has these words."""
    text = (Path(__file__).parent.parent.parent / "docs" / page).read_text()
    assert not [line for line in lines if line not in text]


def change(server: Slapd, **values: str) -> None:
    """Attributes of user0, in the directory; then `posthouse reload` is due."""
    steps = "-\n".join(f"replace: {name}\n{name}: {value}\n" for name, value in values.items())
    subprocess.run(
        ["ldapmodify", "-x", "-H", server.uri, "-D", server.manager(ROOT), "-w", MANAGER_PASSWORD],
        input=f"dn: uid=user0,ou=People,o=example.com,{ROOT}\nchangetype: modify\n{steps}",
        text=True, check=True, capture_output=True,
    )  # fmt: skip


def carry(tiers: TwoTiers) -> None:
    """`export | import`."""
    old, new = tiers.stores
    archive = tiers.root / "user0.tar"
    archive.unlink(missing_ok=True)
    old.command("store", "export", "user0", str(archive))
    new.command("store", "import", "user0", str(archive))


def close(tiers: TwoTiers) -> Path:
    """`touch .../.admin-lock`, and `flock .../.lmtp-lock true`: until nothing is under way in it any more."""
    root = Path(tiers.stores[0].command("store", "path", "user0").stdout.strip())
    (root / ".admin-lock").touch()
    subprocess.run(["flock", str(root / ".lmtp-lock"), "true"], check=True, timeout=30)
    return root / ".admin-lock"


def rerouted(tiers: TwoTiers) -> bool:
    """Nothing waits for him on store1 any more."""
    done = tiers.relay.command("queue", "reroute", *USER, "--host", "store1*", check=False)
    assert done.returncode in {0, 66, 75}, done.stderr
    return done.returncode == 66


@pytest.mark.parametrize("way", ["two runs", "held"])
def test_nobody_loses_mail_when_a_user_moves(tmp_path: Path, way: str) -> None:
    said("dovecot.md", "/.admin-lock", "/.lmtp-lock true", "posthouse queue reroute --to jdoe@example.com --host 'store1*'")
    said("deployments.md", "/.admin-lock", "/.lmtp-lock true", "--host 'store1*'")
    (tmp_path / "slapd").mkdir()
    with (
        Slapd(tmp_path / "slapd", many_people(4, stores=HOSTS)) as server,
        journey(tmp_path, directory=["--ldap", server.uri, "--base", ROOT], quick=False) as tiers,
    ):
        relay, (old, new) = tiers.relay, tiers.stores
        with Load(relay.port, ["user0", "user1", "user2"], pause=0.1) as load, connect(relay) as slow:
            wait_for(lambda: "user0" in {each.owner for each in mailboxes([old])})
            slow.ehlo()
            assert [slow.mail("user0@example.com")[0], slow.rcpt("user0@example.com")[0]] == [250, 250]
            if way == "two runs":
                carry(tiers)
                change(server, mailHost=HOSTS[1])
            else:
                change(server, mailUserStatus="hold")
            relay.command("reload")
            lock = close(tiers)
            carry(tiers)
            if way == "held":
                change(server, mailHost=HOSTS[1], mailUserStatus="active")
                relay.command("reload")
                wait_for(lambda: relay.command("queue", "reroute", *USER, "--channel", "hold", check=False).returncode == 66, 60)
            assert slow.data(body_of("t0.slow", 400))[0] == 250
            wait_for(lambda: any("store1" in str(copy.get("host")) for copy in queued(relay)))
            wait_for(lambda: rerouted(tiers), 60)
            wait_for(lambda: any(b"t0.slow" in each.octets for each in mailboxes([new])), 60)
            lock.unlink()
            old.command("store", "delete", "user0")
        relay.command("queue", "retry", "--all")
        wait_delivered(load.ledger, [*tiers.stores])
        wait_empty(relay)
        verdict = reconcile(load.ledger, tiers.stores)
        assert (verdict.lost, verdict.duplicates) == ([], 0), str(verdict)
        assert {each.owner for each in mailboxes([old])} == {"user2"}
