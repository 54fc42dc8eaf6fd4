"""pipe_programs: what a registration may say, and what is refused with file and line."""

from pathlib import Path

import pytest

from posthouse.config.fault import Faults
from posthouse.config.instance import Instance
from posthouse.config.pipe_programs import Format, PipeProgram, command_words, read_pipe_programs, untrustworthy
from posthouse.config.source import Source


def read(folder: Path, text: str) -> tuple[dict[str, PipeProgram], list[str]]:
    (folder / "config").mkdir(exist_ok=True)
    path = folder / "config" / "pipe_programs"
    path.write_text(text)
    faults = Faults()
    programs = read_pipe_programs(path, Source(Instance(folder), faults, lambda name, above: above / name))
    return dict(programs), [str(fault) for fault in faults.all]


def test_a_registration(tmp_path: Path) -> None:
    programs, faults = read(
        tmp_path,
        "!\n[PROGRAM=ProcMail]\nCOMMAND=/bin/cat -a \"$S x\" '' $$5 --to=$R\nFORMAT=MBOX\nTIMEOUT=60\nOUTPUT_LIMIT=100\n",
    )
    assert faults == []
    program = programs["procmail"]
    assert (program.name, program.path, program.format) == ("ProcMail", "/bin/cat", Format.MBOX)
    assert (program.timeout, program.output_limit, program.line) == (60, 100, 2)
    assert program.words == (
        (("", "-a"),), (("S", ""), ("", " x")), (("", ""),), (("", "$"), ("", "5")), (("", "--to="), ("R", "")),
    )  # fmt: skip


def test_without_a_file_there_is_none(tmp_path: Path) -> None:
    source = Source(Instance(tmp_path), Faults(), lambda name, above: above / name)
    assert read_pipe_programs(tmp_path / "config" / "pipe_programs", source) == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("COMMAND=/bin/cat\n", "config/pipe_programs:1: COMMAND stands before the first [PROGRAM=name]"),
        ("[PROGRAM=a%b]\nCOMMAND=/bin/cat\n", "'a%b' is no name for a program"),
        ("[PROGRAM=-a]\nCOMMAND=/bin/cat\n", "'-a' is no name for a program"),
        ("[PROGRAM=a]\nTIMEOUT=3\n", "program a has no COMMAND"),
        ("[PROGRAM=a]\nCOMMAND=cat\n", "config/pipe_programs:2: COMMAND: 'cat' is no absolute path"),
        ("[PROGRAM=a]\nCOMMAND=/bin/$U\n", "COMMAND: the program itself cannot have codes"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat $Q\n", "COMMAND: unknown code $Q"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat x$\n", "COMMAND: unknown code $"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat 'x\n", "COMMAND: no closing quotation"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat\nFORMAT=pdf\n", "FORMAT: 'pdf' is not unix, mbox, smtp"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat\nTIMEOUT=0\n", "TIMEOUT: 0 is below 1"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat\nSHELL=1\n", "unknown option SHELL"),
        ("[PROGRAM=a]\nCOMMAND=/nowhere/cat\n", "COMMAND: /nowhere/cat: no such file or directory; it is not run"),
        ("[PROGRAM=a]\nCOMMAND=/bin/cat\n[PROGRAM=A]\nCOMMAND=/bin/cat\n", "section PROGRAM=A given twice"),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    _, faults = read(tmp_path, text)
    assert any(fault in each for each in faults), faults


def test_a_program_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\n")
    assert untrustworthy(str(path)).endswith("is no executable file")
    path.chmod(0o755)
    assert untrustworthy(str(path)) == ""
    path.chmod(0o757)
    assert untrustworthy(str(path)).startswith("everybody may write")
    assert untrustworthy(str(tmp_path)).endswith("is no executable file")


def test_an_escaped_blank_makes_no_second_word() -> None:
    assert command_words(r"/bin/a\ b c\ d") == ("/bin/a b", ((("", "c d"),),))
