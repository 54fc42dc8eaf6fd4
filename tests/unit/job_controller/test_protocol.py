import pytest

from posthouse.journal.segment import RecordRef
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import (
    Downward,
    Drain,
    FrameError,
    Frames,
    Job,
    Lease,
    Result,
    Upward,
    frame,
    read_downward,
    read_upward,
)

RECORD = RecordRef("smtp-1.seg", 73728, 1, 0, 1, 0, 3, 300, 4096, 1, 2, 73728, 1795428000000)
LEASE = Lease(7, Job.DELIVER, "tcp_lmtpcs", "store1.example.com.lmtp", 2, RECORD, "", (0, 2), 0, instant=True)
RESULT = Result(7, Verdict.PARTLY, ((0, "D"),), 422, "4.2.2", "<bob> Quota Exceeded")


def test_every_split_gives_the_same_frames() -> None:
    down: list[Downward] = [LEASE, Drain()]
    up: list[Upward] = [RESULT]
    octets = frame(down) + frame(up)
    for cut in range(len(octets) + 1):
        frames = Frames()
        bodies = frames.feed(octets[:cut]) + frames.feed(octets[cut:])
        assert read_downward(bodies[0]) == down
        assert read_upward(bodies[1]) == up


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(FrameError, match="octets"):
        Frames().feed(b"\xff\xff\xff\xff")


def test_a_message_of_the_other_direction_is_refused() -> None:
    with pytest.raises(FrameError):
        read_upward(frame([LEASE])[4:])
