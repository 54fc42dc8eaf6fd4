"""One recipient of one sample, from RCPT to its end."""

from dataclasses import dataclass

from posthouse.cli.demo.samples import End, Expected, Sample


@dataclass(slots=True)
class Journey:
    """What was sent, what was expected, and what became of it."""

    sample: Sample
    expected: Expected
    message_id: str = ""
    outcome: End = End.UNKNOWN
    reply: str = ""
    mailbox: str = ""

    @property
    def good(self) -> bool:
        """Whether it ended where the sample says."""
        want = self.expected
        if self.outcome is not want.outcome or not self.reply.startswith(want.reply):
            return False
        return want.outcome is not End.DELIVERED or bool(self.mailbox)
