"""A relay's rules together with a directory in memory: routes one recipient at a time."""

from typing import Any, Protocol

from posthouse.relay.routing.result import Accepted, Rejected, Routed, RouteRequest
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.rules import Rules
from support.people import Attributes, MemoryDirectory

AUGUST = 1786000000.0
JULY = 1783700000.0


class Relay:
    """A relay's rules and a directory: routes one recipient at a time."""

    def __init__(self, rules: Rules, directory: MemoryDirectory) -> None:
        self.rules = rules
        self.directory = directory

    def route(self, recipient: str, **request: Any) -> Routed:
        asked: dict[str, Any] = {"sender": "x@evil.test", "source_channel": "tcp_local", "now": AUGUST, **request}
        return self.directory.run(route_recipient(self.rules, RouteRequest(recipient=recipient, **asked)))

    def addresses(self, recipient: str, **request: Any) -> list[tuple[str, str]]:
        """Channel and address of every target."""
        routed = self.route(recipient, **request)
        assert isinstance(routed, Accepted), routed
        return [(target.channel, target.address) for target in routed.recipients]

    def refusal(self, recipient: str, **request: Any) -> str:
        """The reply of a refused recipient."""
        routed = self.route(recipient, **request)
        assert isinstance(routed, Rejected), routed
        return str(routed.status)


class MakeRelay(Protocol):
    """The fixture make_relay."""

    def __call__(self, entries: dict[str, Attributes] | None = None, **files: str) -> Relay: ...
