"""`run/` beneath a running supervisor: whatever becomes of it, the supervisor goes on."""

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posthouse.dispatcher import control
from posthouse.dispatcher.run_folder import RunFolder


async def answer(request: control.Answer) -> control.Answer:
    return {"heard": request["op"]}


async def ask(run: Path) -> control.Answer:
    return await control.ask_async(run / control.SUPERVISOR, {"op": "status"})


@contextmanager
def away(run: Path) -> Iterator[None]:
    """The folder, with all that is in it, has another name, and its own leads in a circle."""
    kept = run.rename(run.with_name("kept"))
    run.symlink_to(run)
    yield
    run.unlink()
    kept.rename(run)


def test_each_removal_is_mended_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        folder = RunFolder(tmp_path / "run", None, answer, logging.getLogger())
        await folder.open()
        for count in (1, 2):
            shutil.rmtree(tmp_path / "run")
            await folder.mend()
            await folder.mend()
            assert await ask(tmp_path / "run") == {"heard": "status"}
            assert caplog.text.count("made anew") == count
        folder.remove()
        assert list((tmp_path / "run").iterdir()) == []

    asyncio.run(main())


def test_a_folder_that_could_not_be_made_and_then_came_back_is_listened_in(tmp_path: Path) -> None:
    async def main() -> None:
        folder = RunFolder(tmp_path / "run", None, answer, logging.getLogger())
        await folder.open()
        with away(tmp_path / "run"):
            await folder.mend()
        await folder.mend()
        assert await ask(tmp_path / "run") == {"heard": "status"}
        folder.remove()

    asyncio.run(main())


def test_a_folder_that_may_not_be_looked_into_ends_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        folder = RunFolder(tmp_path / ("r" * 300), None, answer, logging.getLogger())  # ENAMETOOLONG; EACCES is nothing to root
        await folder.mend()
        await folder.mend()
        folder.remove()

    asyncio.run(main())
    assert caplog.text.count("cannot be made anew") == 1


def test_a_file_under_the_folders_name_does_not_spoil_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        folder = RunFolder(tmp_path / "run", None, answer, logging.getLogger())
        await folder.open()
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").touch()
        await folder.mend()
        folder.remove()

    asyncio.run(main())
