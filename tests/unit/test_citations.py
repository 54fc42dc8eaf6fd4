"""Every RFC the source cites is listed in docs/standards.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_CITED = re.compile(r"\bRFC (\d{3,5})((?:[ \d.()-]*(?:, | and )\d{4,5}\b)*)")
_LISTED = re.compile(r"\b\d{4}\b")


def citations(text: str) -> set[str]:
    """The numbers of `RFC 5321` and of lists like `RFC 3464, 6522 and 6533`."""
    found = set()
    for first, others in _CITED.findall(text):
        found |= {first, *re.findall(r"(?:, | and )(\d{4,5})\b", others)}
    return found


def listed(text: str) -> set[str]:
    """The numbers in headings and at the start of table rows: only those are claims."""
    lines = text.splitlines()
    return {number for line in lines if line.startswith("#") for number in _LISTED.findall(line)} | {
        number for line in lines if line.startswith("|") for number in _LISTED.findall(line.split("|")[1])
    }


def test_every_rfc_cited_is_listed() -> None:
    standards = listed((ROOT / "docs/standards.md").read_text(encoding="utf-8"))
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}
    unlisted = {
        f"{path.relative_to(ROOT)}: RFC {number}" for path, text in sources.items() for number in citations(text) - standards
    }
    assert len(sources) > 100
    assert unlisted == set()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(RFC 5321 4.5.2, 3030)", {"5321", "3030"}),
        ("(RFC 3464, 6522, 6533; page 6)", {"3464", "6522", "6533"}),
        ("RFC 2849 and 4515", {"2849", "4515"}),
        ("RFC 5321 4.1, at most 1024 octets", {"5321"}),
        ("no RFC here, 9999", set()),
    ],
)
def test_citation_forms(text: str, numbers: set[str]) -> None:
    assert citations(text) == numbers


def test_only_headings_and_first_columns_list() -> None:
    assert listed("# RFC 5321\n| 1870 SIZE | RFC 3030 |\nRFC 2033 in passing\n") == {"5321", "1870"}
