"""Our relay delivers into Postfix's smtp-sink -L."""

from support.family_rig import wait_for
from support.interop_daemon import needs_root
from support.interop_foreign import ForeignStores
from support.interop_tiers import mail, smtp

pytestmark = needs_root


def test_mail_for_two_users_is_one_transaction_without_our_parameters(foreign: ForeignStores) -> None:
    with smtp(foreign.relay) as client:
        assert client.sendmail("a@outside.test", ["ann.smith@example.com", "sue@hosted.example.org"], mail("sink-one")) == {}
    (text,) = wait_for(lambda: foreign.in_sink("Subject: sink-one"))
    own = text.partition("\nReceived:")[0].splitlines()
    assert "X-Mail-Args: <a@outside.test>" in "\n".join(own)
    assert [line for line in own if line.startswith("X-Rcpt-Args:")] == [
        "X-Rcpt-Args: <asmith>",
        "X-Rcpt-Args: <SMiller@hosted.example.org>",
    ]
    assert "xquota" not in text.lower()
    assert "xdflg" not in text.lower()
    assert text.rstrip("\n").endswith("Something to read.")


def test_many_messages_on_a_kept_session(foreign: ForeignStores) -> None:
    with smtp(foreign.relay) as client:
        for number in range(40):
            client.sendmail("a@outside.test", ["ann.smith@example.com"], mail(f"sink-{number}-many"))
    wait_for(lambda: len(foreign.in_sink("-many\n")) == 40)
    wait_for(lambda: foreign.relay.json("queue", "list") == [])
