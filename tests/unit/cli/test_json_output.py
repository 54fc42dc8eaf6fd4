"""What `--json` prints is JSON in UTF-8, whatever the locale and whatever names there are."""

import json
import subprocess
import sys

import pytest

from posthouse.cli.json_output import print_json


def test_an_octet_that_is_no_utf_8_is_shown_as_a_question_mark(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json({"owner": "j\udcfcrgen", "note": "für"})
    assert json.loads(capfdbinary.readouterr().out) == {"owner": "j?rgen", "note": "für"}


def test_what_a_terminal_obeys_or_hides_is_escaped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = "\x1b[2J\x7f\x9b2J\x85 \u200b\u2028\u202e\u2066\ufeff für ✓"
    print_json({"text": text})
    out = capfdbinary.readouterr().out
    assert json.loads(out) == {"text": text}
    assert out.decode().rstrip("\n").isprintable()


def test_utf_8_in_any_locale_and_behind_text() -> None:
    code = "from posthouse.cli.json_output import print_json; print('first'); print_json(['Grüße ✓'])"
    command = [sys.executable, "-X", "utf8=0", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, env={"PYTHONIOENCODING": "latin-1"}, timeout=60)
    assert done.stdout == 'first\n["Grüße ✓"]\n'.encode()
