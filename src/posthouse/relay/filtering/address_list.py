r"""Addresses of a header field or envelope (RFC 5322 3.4, with the obsolete forms people still write).

    list = mailbox or group, comma separated; empty places are passed over
    mailbox = [phrase] "<" [route ":"] local "@" domain ">" / local "@" domain     group = phrase ":" [list] ";"

Groups count as their members, comments as blanks. What is no address gives one `Mailbox` with only `raw`: it can be compared
whole (`:all`) and has no parts. At most `ADDRESSES` of a field are looked at, and 64 KiB of it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from posthouse.relay.filtering import limits

_TOKEN = re.compile(
    r"""\s+ | (?P<quoted>"(?:[^"\\]|\\.)*") | (?P<literal>\[[^\[\]]*\]) | (?P<special>[<>@,:;.]) | (?P<comment>\()
    | (?P<atom>[^\s<>@,:;."()\[\]\\]+) | .""",
    re.DOTALL | re.VERBOSE,
)
_ODD = re.compile(r".", re.DOTALL)
_DOT_ATOM = re.compile(r"[^\s<>@,:;.\"()\[\]\\]+(?:\.[^\s<>@,:;.\"()\[\]\\]+)*\Z")
_ATOMS = r"[^\s<>@,:;\"()\[\]\\.]+(?:\.[^\s<>@,:;\"()\[\]\\.]+)*"
_SIMPLE = re.compile(rf'(?:[^<>@,:;"()\[\]\\]*<)?({_ATOMS})@([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(>?)\Z')
_NAMED = re.compile(
    rf"""(?:(?:\s*"(?:[^"\\]|\\.)*"\s*|[^<>@,:;"()\[\]\\]*)<({_ATOMS}@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)>
    |\s*({_ATOMS}@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*))\s*\Z""",
    re.DOTALL | re.VERBOSE,
)
"""one address, with a name or without: as most fields have it"""
_HOST = r"(?:\[[^\[\]\s]*\]|[^\s<>@,:;\"()\[\]\\.]+(?:\.[^\s<>@,:;\"()\[\]\\.]+)*)"
_PATH = re.compile(
    rf'(?:@{_HOST}(?:,@{_HOST})*:)?(?P<local>"(?:[^"\\]|\\.)*"|[^\s<>@,:;"()\[\]\\]+)(?:@(?P<domain>{_HOST}))?\Z', re.DOTALL
)
_AROUND = re.compile(r"[ \t]*([@,:.])[ \t]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMMENT_DEPTH = 50
_LONGEST = 64 << 10
_PIECES = 16 * limits.ADDRESSES


class Mailbox(NamedTuple):
    """One address; local and domain are None when it is none."""

    raw: str
    """the whole address, without name and brackets; or the text that is no address"""
    local: str | None
    """without quotes"""
    domain: str | None


class Place(NamedTuple):
    """Where in a field value an address stands in one piece, no comment or fold in it."""

    begin: int
    end: int


class _Piece(NamedTuple):
    kind: str
    text: str
    begin: int


_EMPTY = Mailbox("", "", "")


def addresses(value: str) -> list[Mailbox]:
    """All addresses of an unfolded field value."""
    simple = _SIMPLE.match(value)
    if simple is not None and ("<" in value) == bool(simple[3]):
        return [Mailbox(f"{simple[1]}@{simple[2]}", simple[1], simple[2])]
    if not value.strip():
        return [_EMPTY]
    found = [_mailbox(group, raw) if group else Mailbox(raw, None, None) for group, raw in _groups(value)]
    return found or [Mailbox(value.strip(), None, None)]


def places(value: str) -> list[Place]:
    """Where the addresses of a field value stand, which may be folded; what is none, or is not in one piece, is passed over."""
    named = _NAMED.match(value)
    if named is not None:
        return [Place(*named.span(named.lastindex or 0))]
    found: list[Place] = []
    for group, _ in _groups(value):
        parts = _parts(group)
        if parts is not None:
            begin, end = parts[0].begin, parts[-1].begin + len(parts[-1].text)
            if value[begin:end] == "".join(each.text for each in parts):
                found.append(Place(begin, end))
    return found


def _groups(value: str) -> Iterator[tuple[list[_Piece], str]]:
    """The pieces of each address with its text; no pieces for a group without members. At most `ADDRESSES` of them."""
    if len(value) > _LONGEST:
        value = value[:_LONGEST].rpartition(",")[0]
    count = 0
    group: list[_Piece] = []
    members = begin = 0  # of the mailboxes of a group, and where the one under way begins
    in_group = in_route = False
    for piece in _pieces(value):
        if count >= limits.ADDRESSES:
            return
        if piece.kind == "," and in_route and piece.text:  # <@a,@b:local@domain>
            group.append(piece)
        elif piece.kind in {",", ";"}:
            if any(each.kind != "blank" for each in group):
                end = piece.begin
                yield group, value[group[0].begin : end].strip()
                count += 1
                members += 1
            elif piece.kind == ";" and in_group and not members:
                yield [], value[begin : piece.begin + 1].strip()
                count += 1
            group, begin = [], piece.begin + 1
            in_group, in_route = in_group and piece.kind == ",", False
        elif piece.kind == ":" and not in_group and not any(each.kind == "<" for each in group):
            group, in_group, members = [], True, 0
        elif group or piece.kind != "blank":
            if piece.kind == "@":
                in_route = in_route or _last_kind(group) == "<"
            elif piece.kind in {":", ">"}:
                in_route = False
            group.append(piece)


def envelope_address(text: str) -> Mailbox:
    """An envelope address, with or without brackets and source route (RFC 5321 4.1.2): empty for the null sender."""
    path = text.strip()
    if path.startswith("<") and path.endswith(">"):
        path = path[1:-1].strip()
    if not path:
        return _EMPTY
    match = _PATH.match(_AROUND.sub(r"\1", path) if " " in path or "\t" in path else path)
    if match is None:
        return Mailbox(text, None, None)
    local, domain = match["local"], match["domain"]
    return Mailbox(f"{local}@{domain}" if domain else local, unquoted(local), domain)


def unquoted(local: str) -> str:
    """A local part without quotes and backslashes."""
    if len(local) > 1 and local[0] == local[-1] == '"':
        return _ESCAPE.sub(r"\1", local[1:-1])
    return local


def _last_kind(group: list[_Piece]) -> str:
    """The kind of the last piece that is no blank."""
    return next((each.kind for each in reversed(group) if each.kind != "blank"), "")


def _pieces(value: str) -> Iterator[_Piece]:
    """At most `_PIECES` of them; behind the last one of the value a comma."""
    at, closes = 0, True
    for _ in range(_PIECES):
        match = _TOKEN.match(value, at) if closes or value[at : at + 1] != '"' else _ODD.match(value, at)
        if match is None:
            yield _Piece(",", "", len(value))
            return
        kind, begin = match.lastgroup or ("blank" if match[0].isspace() else "bad"), at
        closes = closes and match[0] != '"'  # a quote that nothing ends: no later one has an end either
        at = match.end()
        if kind == "comment":
            at, whole = _comment_end(value, at)
            yield _Piece("blank" if whole else "bad", "", begin)
        else:
            yield _Piece(match[0] if kind == "special" else kind, match[0], begin)


def _comment_end(value: str, at: int) -> tuple[int, bool]:
    depth = 1
    while at < len(value):
        char = value[at]
        at += 2 if char == "\\" else 1
        depth += (char == "(") - (char == ")")
        if not depth:
            return at, True
        if depth > _COMMENT_DEPTH:
            break
    return len(value), False


def _mailbox(group: list[_Piece], raw: str) -> Mailbox:
    """One address of its pieces."""
    parts = _parts(group)
    if parts is None:
        return Mailbox(raw, None, None)
    at = next(place for place, each in enumerate(parts) if each.kind == "@")
    local = "".join(unquoted(each.text) for each in parts[:at])
    domain = "".join(each.text for each in parts[at + 1 :])
    return Mailbox(f"{_written(local)}@{domain}", local, domain)


def _parts(group: list[_Piece]) -> list[_Piece] | None:
    """The pieces of the address itself, without name, brackets, route and blanks; None when it is none."""
    kinds = [each.kind for each in group]
    if "bad" in kinds:
        return None
    if "<" in kinds:
        begin = kinds.index("<")
        if ">" not in kinds[begin:]:
            return None
        group = group[begin + 1 : kinds.index(">", begin)]
        if group and group[0].kind == "@" and ":" in [each.kind for each in group]:
            group = group[[each.kind for each in group].index(":") + 1 :]
    parts = [each for each in group if each.kind != "blank"]
    at = next((place for place, each in enumerate(parts) if each.kind == "@"), -1)
    if at <= 0 or at == len(parts) - 1 or any(each.kind in {"<", ">", ":"} for each in parts):
        return None
    local_parts, domain_parts = parts[:at], parts[at + 1 :]
    if any(each.kind == "@" for each in domain_parts):
        return None
    if not _alternating(local_parts) or any(each.kind == "literal" for each in local_parts) or not _is_domain(domain_parts):
        return None
    return parts


def _is_domain(parts: list[_Piece]) -> bool:
    """Atoms with one dot between two of them, or a literal."""
    kinds = [each.kind for each in parts]
    return kinds == ["literal"] or (len(kinds) % 2 == 1 and set(kinds[::2]) == {"atom"} and set(kinds[1::2]) <= {"."})


def _alternating(parts: list[_Piece]) -> bool:
    """No two words side by side: a blank in an address ends it."""
    before = "."
    for each in parts:
        if each.kind != "." and before != ".":
            return False
        before = each.kind
    return bool(parts)


def _written(local: str) -> str:
    """The local part, quoted where it must be."""
    if _DOT_ATOM.match(local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
