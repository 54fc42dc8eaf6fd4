"""An instance is one folder: config/ data/queue data/journal data/store log/ run/ (DESIGN 9)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instance:
    """Where an instance's files are. Nothing is created or looked at here."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration files."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """Everything durable."""
        return self.root / "data"

    @property
    def journal(self) -> Path:
        """Segments and body files."""
        return self.root / "data" / "journal"

    @property
    def queue(self) -> Path:
        """Queue files of what waits, a folder for each channel."""
        return self.root / "data" / "queue"

    @property
    def store(self) -> Path:
        """Mailboxes, a folder for each partition."""
        return self.root / "data" / "store"

    @property
    def counters(self) -> Path:
        """What was counted of each channel, a file for each process that counts."""
        return self.root / "data" / "counters"

    @property
    def log(self) -> Path:
        """Transaction log and process logs."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Sockets and the supervisor's pid."""
        return self.root / "run"

    def name_of(self, path: Path) -> str:
        """How a fault names a file: below the instance's folder where it is, else absolute."""
        try:
            return str(path.relative_to(self.root))
        except ValueError:
            return str(path)
