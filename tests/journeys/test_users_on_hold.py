"""A user who is being moved: status `hold` keeps his mail, and `queue release` sends it where he lives by then (queue.md 6)."""

from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import journey, queued, wait_empty


def rewrite(folder: Path, old: str, new: str) -> None:
    """user0's entry, changed."""
    path = folder / "people.ldif"
    before, mark, after = path.read_text().partition("dn: uid=user0,")
    entry, blank, rest = after.partition("\n\n")
    assert old in entry
    path.write_text(before + mark + entry.replace(old, new) + blank + rest)


def test_mail_waits_while_the_user_is_moved_and_follows_him(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        relay = tiers.relay
        rewrite(tmp_path, "mailUserStatus: active", "mailUserStatus: hold")
        tiers.start()
        with connect(relay) as client:
            for _ in range(3):
                assert ledger.send(client, ["user0"]).code == 250
            assert ledger.send(client, ["user1", "user0"]).code == 250
        wait_for(lambda: [copy["channel"] for copy in queued(relay) if copy["state"] == "held"] == ["hold"] * 4, 20)
        assert {copy["why"] for copy in queued(relay)} == {"held: its recipient is on hold"}
        assert len(mailboxes(tiers.stores)) == 1, "user1 has his own"
        assert relay.json("queue", "retry", "--all")["retried"] == 0
        rewrite(tmp_path, "mailUserStatus: hold", "mailUserStatus: active")
        rewrite(tmp_path, "mailHost: store1.example.com", "mailHost: store2.example.com")
        relay.command("reload")
        one = queued(relay)[0]["id"]
        assert relay.json("queue", "release", one)["done"] == 1
        assert relay.json("queue", "release", "--channel", "hold", "--to", "user0@example.com")["done"] == 3
        wait_delivered(ledger, tiers.stores)
        wait_empty(relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
        first, second = tiers.stores
        assert {found.owner for found in mailboxes([second])} == {"user0", "user1"}
        assert mailboxes([first]) == []


def test_the_general_database_is_taken_at_a_reload(tmp_path: Path) -> None:
    with journey(tmp_path, users=4, start=False) as tiers:
        relay = tiers.relay
        option = relay.folder / "config" / "option.dat"
        option.write_text(option.read_text() + "\nUSE_TEXT_DATABASES=1\n")
        relay.start()
        general = relay.folder / "config" / "general.txt"

        def channels() -> dict[str, tuple[str, str]]:
            return {
                copy["recipients"][0]["original"]: (copy["channel"], copy["recipients"][0]["address"])
                for copy in queued(relay)
                if copy["recipients"]
            }

        with connect(relay) as client:
            ledger = Ledger()
            ledger.send(client, ["user1"])
        lmtp = ("tcp_lmtpcs", "@store2.example.com.lmtp:user1@lmtpcs-daemon")
        wait_for(lambda: channels().get("user1@example.com") == lmtp)
        general.write_text("! store2 has a full MTA\nlmtp|STORE1.example.com   yes\n")
        relay.command("reload")

        def sent(user: str) -> tuple[str, str]:
            with connect(relay) as again:
                ledger.send(again, [user])
            found = wait_for(lambda: channels().get(f"{user}@example.com"))
            assert found is not None
            return found

        wait_for(lambda: "tcp_local" in str(relay.json("route", "user3@example.com")))
        assert sent("user3") == ("tcp_local", "@store2.example.com:user3@example.com")
        assert sent("user2") == ("tcp_lmtpcs", "@store1.example.com.lmtp:user2@lmtpcs-daemon")
