"""What the configuration says of one client channel, as numbers a session can use (job-controller-cnf 2, 4 and 7).

Times in a channel's option file are minutes, fractions allowed; here they are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.option_file import OptionFile
from posthouse.relay.channels.tls_out import TlsOut, tls_out
from posthouse.relay.job_controller.programs import Program, program_of
from posthouse.relay.notices.postmaster import NO_COPIES, PostPolicy


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """One channel."""

    channel: Channel
    program: Program
    fast_retry: bool
    """MAILBOX_BUSY_FAST_RETRY"""
    transactions_per_session: int
    """0 for no limit"""
    max_life_age: float
    """seconds after which a session asks for no more work"""
    max_life_conns: int
    """after asking for work this often a session ends"""
    reply_wait: float
    """greeting, hello, anything not named below"""
    mail_wait: float
    rcpt_wait: float
    data_wait: float
    """354 and the final replies"""
    per_address: float
    per_block: float
    per_address_block: float
    send_wait: float
    """seconds without progress while the body is sent"""
    tls: TlsOut | None = None
    """LMTP: how STARTTLS is used, if it is"""

    post: PostPolicy = NO_COPIES
    """which notices the postmaster gets, too"""

    @property
    def sends_flags(self) -> bool:
        """Whether xquota and xdflg are sent where the server takes them."""
        return not self.channel.has("noflagtransfer")

    @property
    def sends_chunks(self) -> bool:
        """Whether a message may be sent along with its envelope, by BDAT, where the server takes that."""
        return not self.channel.has("nochunkingclient")

    def final_wait(self, recipients: int, octets: int) -> float:
        """Seconds to wait for each final reply."""
        blocks = octets / 1024
        return self.data_wait + recipients * self.per_address + blocks * (self.per_block + recipients * self.per_address_block)

    @classmethod
    def read(cls, configuration: Configuration, channel: Channel, before: TlsOut | None = None) -> "ChannelSettings":
        """The settings of a channel; `before` is its way to use TLS until now."""
        options = configuration.channel_option(channel.name)
        jobs = configuration.job_controller
        section = jobs.for_channel(channel.name) if jobs is not None else None
        return cls(
            channel=channel,
            program=program_of(configuration, channel),
            fast_retry=options.integer("MAILBOX_BUSY_FAST_RETRY", 1) != 0,
            transactions_per_session=options.integer("ATTEMPT_TRANSACTIONS_PER_SESSION", 0),
            max_life_age=float(section.max_life_age) if section is not None else 14400.0,
            max_life_conns=section.max_life_conns if section is not None else 300,
            reply_wait=_minutes(options, "STATUS_RECEIVE_TIME", 10),
            mail_wait=_minutes(options, "STATUS_MAIL_RECEIVE_TIME", 10),
            rcpt_wait=_minutes(options, "STATUS_RCPT_RECEIVE_TIME", 10),
            data_wait=_minutes(options, "STATUS_DATA_RECEIVE_TIME", 10),
            per_address=_minutes(options, "STATUS_DATA_RECV_PER_ADDR_TIME", 0.083333),
            per_block=_minutes(options, "STATUS_DATA_RECV_PER_BLOCK_TIME", 0.001666),
            per_address_block=_minutes(options, "STATUS_DATA_RECV_PER_ADDR_PER_BLOCK_TIME", 0.003333),
            send_wait=_minutes(options, "DATA_TRANSMIT_TIME", 10),
            post=PostPolicy.of(channel.has),
            tls=tls_out(configuration, channel, options, before) if channel.is_lmtp else None,
        )


def _minutes(options: OptionFile, name: str, default: float) -> float:
    return options.number(name, default) * 60.0


def read_all(configuration: Configuration, before: Mapping[str, ChannelSettings] | None = None) -> dict[str, ChannelSettings]:
    """Those of every channel, by name; `before` are those until now."""
    tls = {name: settings.tls for name, settings in (before or {}).items()}
    return {
        name: ChannelSettings.read(configuration, found, tls.get(name)) for name, found in configuration.imta.channels.items()
    }
