"""A source channel's limits: options of the service's channel option file and of option.dat, keywords of the channel.

Job-controller-cnf.md 7 and imta-cnf 3.2 have them:

    ALLOW_RECIPIENTS_PER_TRANSACTION, recipientlimit     accepted in one transaction; the next is told 452
    REJECT_RECIPIENTS_PER_TRANSACTION, recipientcutoff   offered in one transaction; beyond it is refused whole
    ALLOW_TRANSACTIONS_PER_SESSION, transactionlimit     messages of one connection; the next is told 452
    holdlimit                                            recipients of a message beyond which it is held
    disconnectrecipientlimit disconnectrejectlimit disconnecttransactionlimit disconnectbadcommandlimit
        recipients offered, refused recipients, messages, bad commands of one connection; with the last the connection ends: 421

Times in the files are minutes, here seconds; sizes are octets. Of option and keyword the smaller one counts.
"""

from dataclasses import dataclass

from posthouse.config.channel import Channel
from posthouse.config.option_file import OptionFile
from posthouse.relay.smtp_server.received import LoopLimits

NO_LIMIT = 1 << 62
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
    hold_beyond: int = NO_LIMIT
    last_recipient: int = NO_LIMIT
    """with so many offered in one connection it ends"""
    last_rejection: int = NO_LIMIT
    last_message: int = NO_LIMIT
    last_bad_command: int = NO_LIMIT

    @classmethod
    def read(cls, channel_options: OptionFile, options: OptionFile, channel: Channel | None) -> "Limits":
        """Gather them for one service's channel."""
        return cls(
            recipients=min(
                channel_options.integer("ALLOW_RECIPIENTS_PER_TRANSACTION", 128), _keyword(channel, "recipientlimit", NO_LIMIT)
            ),
            rejections=channel_options.integer("ALLOW_REJECTIONS_BEFORE_DEFERRAL", 0),
            recipients_at_all=_least(
                channel_options.integer("REJECT_RECIPIENTS_PER_TRANSACTION", 0), _keyword(channel, "recipientcutoff", 0)
            ),
            transactions=_least(
                channel_options.integer("ALLOW_TRANSACTIONS_PER_SESSION", 0), _keyword(channel, "transactionlimit", 0)
            ),
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
            hold_beyond=_keyword(channel, "holdlimit", NO_LIMIT),
            last_recipient=_keyword(channel, "disconnectrecipientlimit", NO_LIMIT),
            last_rejection=_keyword(channel, "disconnectrejectlimit", NO_LIMIT),
            last_message=_keyword(channel, "disconnecttransactionlimit", NO_LIMIT),
            last_bad_command=_keyword(channel, "disconnectbadcommandlimit", NO_LIMIT),
        )

    @property
    def transaction_seconds(self) -> float:
        """How long a transaction may last, whatever is sent."""
        return 12 * max(self.command_seconds, self.data_seconds)


def _keyword(channel: Channel | None, keyword: str, default: int) -> int:
    return channel.number(keyword, default) if channel is not None else default


def _least(*limits: int) -> int:
    """The smallest that is set, 0 when none is."""
    return min((limit for limit in limits if limit), default=0)


def largest_message(options: OptionFile, channel: Channel | None) -> int:
    """Octets of the largest message that may come in on a channel: BLOCK_LIMIT and its `sourceblocklimit`."""
    blocks = (options.integer("BLOCK_LIMIT", 0), channel.number("sourceblocklimit", 0) if channel is not None else 0)
    return min((options.integer("BLOCK_SIZE", 1024) * each for each in blocks if each > 0), default=_DEFAULT_SIZE)
