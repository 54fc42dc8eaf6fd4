"""The session's limits: options of the service's channel option file and of option.dat (job-controller-cnf.md 7).

Times in the files are minutes, here seconds; sizes are octets.
"""

from dataclasses import dataclass

from posthouse.config.channel import Channel
from posthouse.config.option_file import OptionFile
from posthouse.relay.smtp_server.received import LoopLimits

_DEFAULT_SIZE = 52_428_800 - 65_536
"""a store's limit less room for the header fields added on the way: what is taken here must not bounce there"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do."""

    recipients: int
    rejections: int
    """recipients refused for good in one connection after which all others are deferred; 0 = no limit"""
    recipients_at_all: int
    """recipients offered in one transaction beyond which it is refused whole; 0 = no limit"""
    transactions: int
    """messages accepted in one connection; 0 = no limit"""
    command_seconds: float
    data_seconds: float
    reply_seconds: float
    bad_command_records: int
    rejection_records: int
    message_size: int
    loops: LoopLimits

    @classmethod
    def read(cls, channel_options: OptionFile, options: OptionFile, channel: Channel | None) -> "Limits":
        """Gather them for one service's channel."""
        return cls(
            recipients=channel_options.integer("ALLOW_RECIPIENTS_PER_TRANSACTION", 128),
            rejections=channel_options.integer("ALLOW_REJECTIONS_BEFORE_DEFERRAL", 0),
            recipients_at_all=channel_options.integer("REJECT_RECIPIENTS_PER_TRANSACTION", 0),
            transactions=channel_options.integer("ALLOW_TRANSACTIONS_PER_SESSION", 0),
            command_seconds=60 * channel_options.number("COMMAND_RECEIVE_TIME", 10),
            data_seconds=60 * channel_options.number("DATA_RECEIVE_TIME", 5),
            reply_seconds=60 * channel_options.number("STATUS_TRANSMIT_TIME", 10),
            bad_command_records=channel_options.integer("MAX_B_ENTRIES", 10),
            rejection_records=channel_options.integer("MAX_J_ENTRIES", 10),
            message_size=largest_message(options, channel),
            loops=LoopLimits(
                options.integer("MAX_RECEIVED_LINES", 50),
                options.integer("MAX_LOCAL_RECEIVED_LINES", 10),
                options.integer("MAX_TOTAL_RECEIVED_LINES", 100),
            ),
        )

    @property
    def transaction_seconds(self) -> float:
        """How long a transaction may last, whatever is sent."""
        return 12 * max(self.command_seconds, self.data_seconds)


def largest_message(options: OptionFile, channel: Channel | None) -> int:
    """Octets of the largest message that may come in on a channel: BLOCK_LIMIT and its `sourceblocklimit`."""
    blocks = (options.integer("BLOCK_LIMIT", 0), channel.number("sourceblocklimit", 0) if channel is not None else 0)
    return min((options.integer("BLOCK_SIZE", 1024) * each for each in blocks if each > 0), default=_DEFAULT_SIZE)
