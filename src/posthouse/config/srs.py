"""Sender rewriting (SRS) as option.dat has it: off unless SRS_DOMAIN and SRS_SECRET_FILE are both set.

    SRS_DOMAIN=example.com          domain of rewritten senders; mail for it comes to this relay
    SRS_SECRET_FILE=srs.secret      one secret a line, the first signs, all of them are believed; relative to the config folder

A file that is missing or has no secret is an error, as is one option without the other. One that others may read, and secrets
of less than 16 characters, are warned about.
"""

from dataclasses import dataclass, field
from pathlib import Path

from posthouse.config.option_file import OptionFile
from posthouse.config.source import Source

MIN_SECRET = 16


@dataclass(frozen=True, slots=True)
class SrsOptions:
    """What signing needs."""

    domain: str
    """lower case"""
    secrets: tuple[bytes, ...] = field(repr=False)


def read_srs(options: OptionFile, path: Path | None, source: Source) -> SrsOptions | None:
    """The options, None when they are not set.

    Args:
        options: option.dat.
        path: the file SRS_SECRET_FILE names, None when it names none.
        source: told what was read, and what is wrong.
    """
    faults = source.faults
    domain, file = options.get("SRS_DOMAIN"), options.get("SRS_SECRET_FILE")
    if domain is None and file is None:
        return None
    given = domain or file
    assert given is not None
    if domain is None or file is None or not domain.text:
        faults.error(given.file, given.line, "SRS_DOMAIN and SRS_SECRET_FILE go together")
        return None
    if path is None:  # told already
        return None
    source.note(path)
    try:
        shared = path.stat().st_mode & 0o077
        lines = path.read_bytes().splitlines()
    except OSError as error:
        faults.error(file.file, file.line, f"SRS_SECRET_FILE: {file.text}: {error.strerror}")
        return None
    secrets = tuple(line.strip() for line in lines if line.strip())
    if not secrets:
        faults.error(file.file, file.line, f"SRS_SECRET_FILE: {file.text} has no line with a secret")
        return None
    if shared:
        faults.warn(file.file, file.line, f"SRS_SECRET_FILE: {file.text} may be read by others: chmod 600")
    if any(len(secret) < MIN_SECRET for secret in secrets):
        faults.warn(file.file, file.line, f"SRS_SECRET_FILE: {file.text}: a secret of less than {MIN_SECRET} characters")
    return SrsOptions(domain.text.lower(), secrets)
