"""Any history of deliveries, limits, an IMAP server, kills: the sum is what is there, limits hold and are shown."""

import contextlib
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.store.mailbox.base_name import notice_seconds, size_of
from posthouse.store.mailbox.folder import make_maildir_folder
from posthouse.store.mailbox.maildirsize import NAME, limits_line, parse
from posthouse.store.mailbox.recount import recount
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.notification import Notification
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Extreme
from support.store_world import World

INTERVAL = 5000.0
WARN = Notification(80, INTERVAL, "Subject: told$$[NUMMSG]", "store1", "example.com")
_limits = st.tuples(st.sampled_from([-1, 0, 300, 1000, 3000]), st.sampled_from([-1, 0, 2, 5]))
_send = st.tuples(st.just("send"), st.sampled_from(["", "+a", "+b/c"]), st.integers(0, 400), st.none() | _limits, st.booleans())
_kill = st.tuples(st.just("kill"), st.sampled_from(["", "+a", "+c"]), st.integers(1, 20))
_other = st.sampled_from(["delete", "move", "restart", "wait"]).map(lambda name: (name,))


class History:
    """A store, one owner, and what is known of him."""

    def __init__(self) -> None:
        self.world = self._process(1)
        self.limits = Limits(-1, -1)
        self.told: list[float] = []

    def _process(self, number: int) -> World:
        old = getattr(self, "world", None)
        world = World(old.disk if old else CrashDisk(), notification=WARN, number=number)
        if old:
            world.clock.time = old.clock.time
        return world

    def send(self, folder: str, size: int, limits: tuple[int, int] | None, bypass: bool) -> None:
        world = self.world
        before = len(world.accepted)
        params = f" xdflg={3 if bypass else 1}" + (f" xquota={limits[0]},{limits[1]}" if limits else "")
        world.send(b"Subject: x\r\n\r\n" + b"x" * size + b"\r\n", f"<bob{folder}>{params}")
        if limits:
            self.limits = Limits(*limits)
        delivered = len(world.accepted) > before
        used, _ = recount(world.disk, self.root)
        if delivered and not bypass:
            assert self.limits.bytes < 0 or used.bytes <= self.limits.bytes
            assert self.limits.messages < 0 or used.messages <= self.limits.messages
        if bypass:
            assert delivered

    @property
    def root(self) -> int:
        return self.world.disk.open_dir("bob", self.world.partition)

    def delete(self, move_to: str = "") -> None:
        """Somebody's IMAP server takes the oldest message of the INBOX, a notice too, and says so in maildirsize."""
        disk, root = self.world.disk, self.root
        new = disk.open_dir("new", root)
        name = min(disk.listdir(new), default="")
        if not name:
            return
        if move_to and disk.stat(move_to, root) is not None:
            make_maildir_folder(disk, move_to, root)  # perhaps a kill has left it half made
            disk.rename(name, name + ":2,S", new, disk.open_dir("cur", disk.open_dir(move_to, root)))
            return
        disk.unlink(name, new)
        if notice_seconds(name) is None:
            fd = disk.open_file(NAME, root, append=True)
            disk.write(fd, b"%d -1\n" % -(size_of(name) or 0))
            disk.close(fd)

    def kill(self, folder: str, operations: int, number: int) -> None:
        """SIGKILL after so many operations of a delivery; the next process begins with recovery and a message of its own."""
        world, disk = self.world, self.world.disk
        assert isinstance(disk, CrashDisk)
        last = disk.operations + operations
        disk.cut_at(last)
        with contextlib.suppress(PowerCut):
            world.send(b"Subject: killed\r\n\r\n", f"<bob{folder}> xdflg=1")
        disk.after = lambda _operation: None
        self.world = World(disk.survivor(Extreme.MOST), notification=WARN, number=number)
        self.world.clock.time = world.clock.time
        self.send("", 0, None, bypass=False)

    def check(self) -> None:
        world, root = self.world, self.root
        fd = world.disk.open_file(NAME, root)
        parsed = parse(world.disk.pread(fd, 1 << 20, 0))
        world.disk.close(fd)
        assert parsed == (limits_line(*self.limits), recount(world.disk, root)[0])
        times = sorted(seconds for _, name in world.everything() if (seconds := notice_seconds(name)) is not None)
        assert all(later - earlier >= INTERVAL for earlier, later in pairwise(times))


@given(st.lists(_send | _other | _kill, min_size=1, max_size=25))
@settings(max_examples=100)
def test_the_sum_is_what_is_there_and_the_limits_are_shown(steps: list[tuple[object, ...]]) -> None:
    history = History()
    history.send("", 0, None, bypass=False)
    for number, step in enumerate(steps):
        match step:
            case ("send", str(folder), int(size), limits, bool(bypass)):
                history.send(folder, size, limits, bypass)  # type: ignore[arg-type]
            case ("delete",):
                history.delete()
            case ("move",):
                history.delete(move_to=".a")
            case ("kill", str(folder), int(operations)):
                history.kill(folder, operations, number + 2)
            case ("restart",):
                history.world = history._process(number + 2)
            case _:
                history.world.clock.run(1700)
        history.check()
