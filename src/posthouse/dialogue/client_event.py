"""What a client's dialogue tells its session.

    connection    ( Greeting [ WantTls ] Ready | Refused ) transaction* ( Bye | ProtocolError )
    transaction   RecipientResult* [ WantBody | BodySent ] RecipientResult* TransactionDone

Each recipient of a transaction has exactly one `RecipientResult`, however the transaction ends.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from posthouse.mail.status import Status


class Greeting(msgspec.Struct, frozen=True):
    """220 was heard; the hello is queued."""

    status: Status


class WantTls(msgspec.Struct, frozen=True, gc=False):
    """The server waits for the handshake: make it, then call `tls_started`. Nothing may be read in clear any more."""


class Ready(msgspec.Struct, frozen=True):
    """The hello was taken: transactions may begin."""

    extensions: Mapping[str, str]
    """keyword in capitals to its parameters"""
    bare: bool
    """the answer was the chapter's one line `250 OK`: xquota and xdflg may be sent unlisted"""


class Refused(msgspec.Struct, frozen=True):
    """The server does not talk to us: its greeting or its answer to the hello is no success. The connection is over."""

    status: Status


class WantBody(msgspec.Struct, frozen=True, gc=False):
    """354: write the stuffed body and its end, then call `body_sent`."""


class BodySent(msgspec.Struct, frozen=True, gc=False):
    """The recipient of a message sent along by BDAT was accepted: what follows is said of the message."""


class RecipientResult(msgspec.Struct, frozen=True):
    """What became of one recipient."""

    index: int
    """place in `Transaction.recipients`"""
    status: Status
    final: bool
    """true: a reply that is this recipient's own, or that refused the sender or the message for all. False: there was none, the
    recipient is unsettled whatever the status says, and is to be tried again"""


class TransactionDone(msgspec.Struct, frozen=True, gc=False):
    """Every recipient has its result."""


class ProtocolError(msgspec.Struct, frozen=True):
    """The server said what no server may say here; the connection is to be dropped."""

    text: str


class Bye(msgspec.Struct, frozen=True):
    """The connection is over: 221 to our QUIT, 421, or its end."""

    status: Status


ClientEvent: TypeAlias = (
    Greeting | WantTls | Ready | Refused | WantBody | BodySent | RecipientResult | TransactionDone | ProtocolError | Bye
)
