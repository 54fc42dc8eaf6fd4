"""What a session is asked and says: the half of a `Server` that never touches octets of the client.

    Mail, Rcpt    accept() or answer(status)
    Message(End)  answer_data(replies)
    Login         answer_login(status)

An answer that nobody is owed is a fault of the session (ValueError); one that comes after the connection is to be closed is
dropped. `shed` waits for a quiet point, `hang_up` for nothing.
"""

from collections.abc import Sequence

from posthouse.dialogue.conversation import Conversation, Owed, Reading
from posthouse.dialogue.policy import Policy
from posthouse.dialogue.reply import render
from posthouse.mail.status import Status

# looked up once: a member of an enum costs a tenth of a microsecond each time
_NOTHING, _MAIL_OWED, _RCPT_OWED, _DATA_OWED = Owed.NOTHING, Owed.MAIL, Owed.RCPT, Owed.DATA
_COMMAND, _SASL = Reading.COMMAND, Reading.SASL


class Answers:
    """The conversation as the session sees it."""

    __slots__ = ("_shed", "_talk")

    def __init__(self, policy: Policy) -> None:
        self._talk = Conversation(policy)
        self._shed: Status | None = None

    @property
    def awaiting(self) -> bool:
        """Whether the session owes an answer."""
        return self._talk.owed is not _NOTHING

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed once `to_send` is written."""
        return self._talk.closing

    @property
    def in_transaction(self) -> bool:
        """From MAIL (even unanswered) to the final replies."""
        return self._talk.sender_known or self._talk.owed is not _NOTHING

    @property
    def accepted(self) -> int:
        """Recipients accepted in this transaction."""
        return self._talk.accepted

    @property
    def bare(self) -> bool:
        """LMTP: LHLO came without a domain, so the chapter's own dialect is spoken."""
        return self._talk.bare

    def accept(self) -> None:
        """Answer `Mail` or `Rcpt` with the dialogue's own OK."""
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is _RCPT_OWED:
            talk.accepted += 1
            talk.out.append(talk.ok_rcpt)
        elif talk.owed is _MAIL_OWED:
            talk.sender_known = True
            talk.out.append(talk.ok_mail)
        else:
            raise ValueError("no answer to MAIL or RCPT is owed")
        talk.owed = _NOTHING
        if self._shed is not None:
            self._shed_if_quiet()

    def answer(self, status: Status) -> None:
        """Answer `Mail` or `Rcpt`; 2yz accepts it into the transaction. Ignored when the connection is to be closed.

        Raises:
            ValueError: no such answer is owed.
        """
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is _MAIL_OWED:
            talk.sender_known = status.is_success
        elif talk.owed is _RCPT_OWED:
            talk.accepted += status.is_success
        else:
            raise ValueError("no answer to MAIL or RCPT is owed")
        talk.owed = _NOTHING
        talk.say(status)
        if self._shed is not None:
            self._shed_if_quiet()

    def answer_data(self, replies: Sequence[Status | bytes]) -> None:
        """Give the final replies: LMTP one for each accepted recipient in their order, SMTP one. The transaction is over.

        Ignored when the connection is to be closed.

        Args:
            replies: statuses, or ready-made reply lines whose CRLF is added where it is missing.

        Raises:
            ValueError: none is owed, or their number is wrong.
        """
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is not _DATA_OWED:
            raise ValueError("no final replies are owed")
        if len(replies) != (talk.accepted if talk.is_lmtp else 1):
            raise ValueError(f"{len(replies)} final replies, wanted {talk.accepted if talk.is_lmtp else 1}")
        for reply in replies:
            if isinstance(reply, Status):
                talk.out.append(render(reply))
            else:
                talk.out.append(reply if reply.endswith(b"\r\n") else reply + b"\r\n")
        talk.owed = _NOTHING
        talk.errors = talk.idle = 0
        talk.forget()
        if self._shed is not None:
            self._shed_if_quiet()

    def answer_login(self, status: Status) -> None:
        """Answer `Login`; 235 makes the client one that has logged in.

        Raises:
            ValueError: no such answer is owed.
        """
        talk = self._talk
        if talk.closing:
            return
        if talk.owed is not Owed.LOGIN:
            raise ValueError("no answer to AUTH is owed")
        talk.owed = _NOTHING
        if status.is_success:
            talk.authenticated = talk.open = True
            talk.say(status)
        else:
            talk.bad(b"", status)
        self._shed_if_quiet()

    def shed(self, status: Status) -> None:
        """Close with this 421 at the next quiet point: now outside a transaction, else after its replies."""
        if self._talk.closing:
            return
        self._shed = status
        self._shed_if_quiet()

    def hang_up(self, status: Status) -> None:
        """Close with this reply now, whatever the connection is doing: for deadlines. An answer still owed is dropped."""
        talk = self._talk
        if talk.closing:
            return
        talk.owed = _NOTHING
        talk.reading = _COMMAND
        talk.events.clear()
        talk.forget()
        talk.close_with(status)

    def _shed_if_quiet(self) -> None:
        talk = self._talk
        if self._shed is None or talk.closing or self.in_transaction or talk.events:
            return
        if talk.reading is not _COMMAND and talk.reading is not _SASL:  # nothing is lost with a login
            return
        talk.close_with(self._shed)
