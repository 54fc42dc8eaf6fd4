"""`tcp_lmtp_client`: all LMTP channels of one worker.

Leases go to the host they are for. The sessions of a channel, idle ones too, are never more than its limit: before one is opened
beyond it, the longest idle one of another host is sent away. Deadlines of all sessions are looked at once a second.
"""

from collections.abc import Callable

from posthouse.relay.channels.lmtp_host import LmtpHost
from posthouse.relay.channels.resolver import Resolver
from posthouse.relay.channels.settings import ChannelSettings
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.protocol import Lease

FORGET_HOSTS = 4096


class LmtpChannels:
    """The program.

    Args:
        shop: what the worker shares.
        limit: most sessions of a channel.
        drained: called when, after `drain`, the last session is closed.
    """

    def __init__(self, shop: Workshop, limit: Callable[[str], int], drained: Callable[[], None]) -> None:
        self._shop = shop
        self._limit = limit
        self._drained = drained
        self._draining = False
        self._reloads = 0
        self._hosts: dict[tuple[str, str], LmtpHost] = {}
        self.resolver = Resolver(shop.configuration.hosts)

    def put(self, lease: Lease) -> None:
        """Take a copy; `pump` afterwards."""
        self._host(lease.channel, lease.host).put(lease)

    def grant(self, channel: str, host: str, sessions: int) -> None:
        """How many sessions the host may have from now on."""
        self._host(channel, host).limit = sessions

    def pump(self) -> None:
        """Set waiting copies going."""
        for host in tuple(self._hosts.values()):
            if host.queue:
                host.pump()

    def tick(self) -> None:
        """Once a second."""
        now = self._shop.loop.time()
        for host in tuple(self._hosts.values()):
            for session in [each for each in host.sessions if each.deadline < now]:
                session.expire()
            if host.queue:
                host.pump()

    def make_room(self, wanting: LmtpHost) -> bool:
        """Whether one more session may be opened for the host, after sending away an idle one where that is needed."""
        channel = wanting.settings.channel.name
        hosts = [host for host in self._hosts.values() if host.settings.channel.name == channel]
        if sum(host.open_sessions for host in hosts) < self._limit(channel):
            return True
        rested = [session for host in hosts if host is not wanting for session in host.idle_sessions]
        if rested:
            min(rested, key=lambda session: session.deadline).leave()
        return False  # there is room when it is gone; pump is called then

    def reload(self) -> None:
        """The workshop has a new configuration: hosts are made anew, sessions under way end by themselves."""
        self.resolver = Resolver(self._shop.configuration.hosts)
        for host in self._hosts.values():
            host.drain()
        self._hosts = {key: host for key, host in self._hosts.items() if host.sessions}
        self._reloads += 1
        for channel, name in list(self._hosts):  # out of the way of the new ones, still looked at each second
            self._hosts[channel, f"{name}\0{self._reloads}"] = self._hosts.pop((channel, name))

    def drain(self) -> None:
        """Finish what is under way, give back the rest."""
        self._draining = True
        for host in self._hosts.values():
            host.drain()
        self.maybe_drained()

    def cut(self) -> None:
        """Stop waiting: close every connection; what has no reply stays to do."""
        for host in self._hosts.values():
            for session in tuple(host.sessions):
                session.expire()

    @property
    def sessions(self) -> int:
        """Open sessions."""
        return sum(host.open_sessions for host in self._hosts.values())

    def maybe_drained(self) -> None:
        """Tell when the last session is gone, and let other hosts have the room."""
        if not self._draining:
            self.pump()
        elif not self.sessions:
            self._drained()

    def _host(self, channel: str, name: str) -> LmtpHost:
        found = self._hosts.get((channel, name))
        if found is None:
            if len(self._hosts) >= FORGET_HOSTS:
                self._hosts = {key: host for key, host in self._hosts.items() if host.queue or host.open_sessions}
            found = self._hosts[channel, name] = self._make(self._shop.settings[channel], name)
        return found

    def _make(self, settings: ChannelSettings, name: str) -> LmtpHost:
        """A host that has had no copies so far."""
        return LmtpHost(self, self._shop, settings, name)
