"""`posthouse queue reroute`: waiting mail goes where its user's mailbox is now, once, and stays what it was (decision 170)."""

from pathlib import Path

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import edit, journey, queued, wait_empty


def moved(folder: Path, user: str, **changes: str) -> None:
    """Attributes of somebody's entry have another value, or are added."""
    path = folder / "people.ldif"
    before, mark, after = path.read_text().partition(f"dn: uid={user},")
    entry, blank, rest = after.partition("\n\n")
    for name, value in changes.items():
        lines = [line for line in entry.split("\n") if not line.startswith(f"{name}:")]
        entry = "\n".join([*lines, f"{name}: {value}"])
    path.write_text(before + mark + entry + blank + rest)


def waits_for_store1(relay: RunningInstance, copies: int) -> None:
    wait_for(lambda: [copy.get("host") for copy in queued(relay)] == ["store1.example.com.lmtp"] * copies, 40)


def test_mail_for_a_store_that_is_gone_follows_its_users(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4) as tiers:
        relay, (first, second) = tiers.relay, tiers.stores
        first.stop()
        with connect(relay) as client:
            for _ in range(3):
                assert ledger.send(client, ["user0"]).code == 250
            assert ledger.send(client, ["user0", "user2", "user1"]).code == 250
        waits_for_store1(relay, 4)
        wait_for(lambda: [each["text"] for each in relay.json("status")["troubles"] if "4 copies wait" in each["text"]])
        (trouble,) = relay.json("status")["troubles"]
        assert trouble["text"].startswith("store1.example.com is down (451 4.4.1 store1.example.com: Connection refused): 4 ")
        assert f"trouble since {trouble['since']}: store1.example.com is down" in relay.command("status").stdout
        before = {copy["id"]: copy["enqueued"] for copy in queued(relay)}
        assert relay.json("queue", "reroute", "--all") == {
            "copies": 4, "recipients": 5, "done": 0, "unchanged": 4, "in_place": 4, "failed": 0, "busy": 0, "faults": [],
            "stayed": [], "missing": [], "beyond": 0,
        }, "nobody has moved"  # fmt: skip
        assert relay.command("queue", "reroute", "--all").stdout == "0 copies rerouted; 4 are where the directory says\n"
        moved(tmp_path, "user0", mailHost="store2.example.com")
        dry = relay.json("queue", "reroute", "--host", "store1*", "--dry-run")
        assert (dry["dry_run"], dry["done"], dry["failed"], dry["unchanged"]) == (True, 4, 0, 0)
        assert {text.partition(": ")[2] for text in dry["stayed"]} == {"user0@example.com would go to store2.example.com"}
        assert {copy["id"]: copy["enqueued"] for copy in queued(relay)} == before
        assert "4 copies would be rerouted\n" in relay.command("queue", "reroute", "--all", "--dry-run").stdout
        answer = relay.json("queue", "reroute", "--host", "store1*")
        assert (answer["done"], answer["failed"], answer["unchanged"]) == (4, 0, 0), answer
        wait_for(lambda: len(queued(relay)) == 1)
        shown = relay.command("trace", next(iter(before))).stdout
        assert "sent elsewhere: an operator rerouted it" in shown
        assert "delivered" in shown, "to store2, as another message"
        (left,) = queued(relay)
        assert [each["original"] for each in left["recipients"]] == ["user2@example.com"], "he has not moved"
        assert before[left["id"]] == left["enqueued"]
        first.start()
        relay.command("queue", "retry", "--all")
        wait_delivered(ledger, tiers.stores)
        wait_empty(relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
        assert {found.owner for found in mailboxes([first])} == {"user2"}
        assert {found.owner for found in mailboxes([second])} == {"user0", "user1"}


def test_one_order_moves_what_waits_and_what_is_held_for_a_user_who_has_moved_and_an_operators_hold_lasts(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=2) as tiers:
        relay, (first, second) = tiers.relay, tiers.stores
        first.stop()
        with connect(relay) as client:
            assert ledger.send(client, ["user0"]).code == 250
        waits_for_store1(relay, 1)
        moved(tmp_path, "user0", mailUserStatus="hold")
        relay.command("reload")
        with connect(relay) as client:
            assert ledger.send(client, ["user0"]).code == 250
        wait_for(lambda: sorted(copy["channel"] for copy in queued(relay)) == ["hold", "tcp_lmtpcs"], 30)
        assert relay.json("queue", "reroute", "--channel", "hold")["unchanged"] == 1, "he is on hold still"
        assert relay.json("queue", "hold", "--all")["done"] == 2
        assert relay.json("queue", "reroute", "--all")["done"] == 1
        both = [("hold", "held", "held by an operator")] * 2
        wait_for(lambda: [(copy["channel"], copy["state"], copy.get("reason")) for copy in queued(relay)] == both, 30)
        moved(tmp_path, "user0", mailUserStatus="active", mailHost="store2.example.com")
        assert relay.json("queue", "reroute", "--to", "user0@example.com")["done"] == 2
        both = [("store2.example.com.lmtp", "held", "held by an operator")] * 2
        wait_for(lambda: [(copy["host"], copy["state"], copy.get("reason")) for copy in queued(relay)] == both, 30)
        assert relay.json("queue", "release", "--all")["done"] == 2
        wait_delivered(ledger, [second])
        wait_empty(relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_mail_on_a_channel_that_is_gone_is_told_from_the_start_and_goes_when_it_is_back(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=2) as tiers:
        relay, (first, second) = tiers.relay, tiers.stores
        first.stop()
        with connect(relay) as client:
            assert ledger.send(client, ["user0"]).code == 250
        waits_for_store1(relay, 1)
        relay.stop()
        edit(relay, "imta.cnf", "\ntcp_lmtpcs ", "\ntcp_other ")
        relay.start()
        text = "imta.cnf has no channel tcp_lmtpcs: 1 copy waits until it has"
        wait_for(lambda: [(each["what"], each["text"]) for each in relay.json("status")["troubles"]] == [("channel", text)])
        moved(tmp_path, "user0", mailHost="store2.example.com")
        answer = relay.json("queue", "reroute", "--all")
        (why,) = answer["stayed"]
        assert why.endswith(": user0@example.com: imta.cnf has no channel tcp_lmtpcs: reroute while it has")
        edit(relay, "imta.cnf", "\ntcp_other ", "\ntcp_lmtpcs ")
        words = "config/imta.cnf: changed and not read yet: posthouse reload"
        assert words in [each["text"] for each in relay.json("status")["troubles"] if each["what"] == "configuration"]
        relay.command("reload")
        wait_for(lambda: {"host"} >= {each["what"] for each in relay.json("status")["troubles"]})
        wait_for(lambda: relay.json("queue", "reroute", "--all")["done"] == 1)
        wait_delivered(ledger, [second])
        wait_empty(relay)
