"""A relay's stock over a real journal folder, with time passed in."""

import threading
from pathlib import Path

from posthouse.config.configuration import load
from posthouse.config.instance import Instance
from posthouse.journal.disk import LinuxDisk
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.ledger import Ledger
from posthouse.relay.job_controller.plan import Plan
from posthouse.relay.job_controller.protocol import Job, Lease, Result
from posthouse.relay.job_controller.stock import Stock
from posthouse.relay.queue.enqueue import Enqueuer, at_once
from support.jobs_relay import JobsRelay

DISK = LinuxDisk()
START = 1_795_428_000.0
WRITER = object()
C = "tcp_lmtpcs"


class World:
    """A stock over a journal folder, and a writer."""

    def __init__(self, root: Path, notices: str = "3 6", units: int = 1) -> None:
        JobsRelay(root, 2225, notices=notices, units=units)
        self.folder = DISK.open_dir(str(root / "data" / "journal"))
        self.alarms: list[str] = []
        self.ledger = Ledger(DISK, self.folder, self.alarms.append)
        self.stock = Stock(Plan(load(Instance(root))), self.ledger, lambda: 0.0)
        self.announced: list[tuple[str, int]] = []
        self.enqueuer = Enqueuer(
            DISK, self.folder, "smtp-1", call_soon=at_once, announce=lambda *said: self.announced.append(said),
            segment_size=1 << 20,
        )  # fmt: skip
        self.enqueuer.start()
        self.count = 0

    def put(self, *hosts: str, held: bool = False, channel: str = C) -> str:
        """Accept and admit a message with one recipient for each host, a copy each."""
        self.count += 1
        people = tuple(Recipient(at, at, channel, f"u{at}@x", f"u{at}@x", host, held=held) for at, host in enumerate(hosts))
        envelope = Envelope(f"0T8K00A01BCDEF{self.count:04d}", "a@x", "tcp_local", "", int(START * 1000), 3, people)
        done = threading.Event()
        assert self.enqueuer.submit(envelope, (b"x\r\n",), lambda _: done.set())
        assert done.wait(5)
        while not self.announced:  # follows the answer at once, in the committer's thread
            done.wait(0.001)
        for new in self.ledger.synced(WRITER, *self.announced.pop()):
            self.stock.admit(new, START)
        return envelope.id

    def lease(self, now: float) -> list[Lease]:
        return [self.stock.lease_of(entry, Job.DELIVER) for entry in self.stock.schedule.lease(now)]

    def jobs(self, now: float) -> list[tuple[Job, int]]:
        return [(lease.job, lease.key) for lease in self.stock.due_jobs(now, 100)]

    def notices(self, now: float) -> list[tuple[Job, int]]:
        """The jobs that are due but moves, which are done at once."""
        found = self.jobs(now)
        for job, key in found:
            if job is Job.MOVE:
                self.stock.book(Result(key, Verdict.AGAIN, file=f"{C}/000/ZY.00"), now)
        return [pair for pair in found if pair[0] is not Job.MOVE]

    def reload(self, root: Path) -> None:
        """Take the configuration as it is now."""
        self.stock.reload(Plan(load(Instance(root))))

    def open_slots(self) -> int:
        return sum(book.open for book in self.ledger._books.values())
