"""general.txt: the general database in text form (option-dat 4). Read only with bit 0 of USE_TEXT_DATABASES.

    key<blanks>value      `!` in column 1 comments, `<file` includes; a key with blanks stands in double quotes

Keys are compared without case. The value runs to the end of the line, blanks around it removed. Of a key given twice the last
counts, with a warning.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from posthouse.config.source import Source

_LINE = re.compile(r'[ \t]*(?:"([^"]+)"|([^ \t"][^ \t]*))(?:[ \t]+(.*?))?[ \t]*')


def read_general(path: Path, source: Source) -> Mapping[str, str]:
    """Lower-case key to value; a missing file has none."""
    found: dict[str, str] = {}
    for line in source.lines(path):
        if line.blank or line.text.startswith("!"):
            continue
        match = _LINE.fullmatch(line.text)
        if not match:
            source.faults.error(line.file, line.line, f"{line.text.strip()[:40]!r} is not key and value")
            continue
        key = (match[1] or match[2]).lower()
        if key in found:
            source.faults.warn(line.file, line.line, f"key {key} given twice: the last one counts")
        found[key] = match[3] or ""
    return MappingProxyType(found)
