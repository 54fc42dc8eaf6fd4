"""The test `body` (RFC 5173): what stands behind the header.

    body [:raw / :content TYPES / :text] ... KEYS

* :raw the octets as they are; :content the parts of these types, encoding undone (`""` all, `text` all of it, `text/html` that);
  :text, the default, what people read: every text part, of HTML the text without its tags.
* A multipart counts as what stands outside its parts, a message as its header.
* Match variables are never set (RFC 5173 6). At most `BODY_OCTETS` of a body are looked at.
"""

import html

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.arguments import MATCH, Signature, TagUse, Taken, Want
from posthouse.relay.filtering.context import Context, Test, TestBuilder
from posthouse.relay.filtering.matcher import comparison, matcher
from posthouse.relay.filtering.matching import casemap
from posthouse.relay.filtering.mime_parts import parts
from posthouse.relay.filtering.run import Run
from posthouse.relay.filtering.syntax import Node


def _raw(run: Run, line: int) -> list[str]:
    if "raw" not in run.parts:
        if not run.message.has_body:
            return []
        octets = run.message.body[: limits.BODY_OCTETS]
        run.spend(len(octets) // limits.GRAIN, line)
        run.parts["raw"] = [octets.decode("utf-8", "surrogateescape")]
    return run.parts["raw"]


def _content(run: Run, kind: str, line: int) -> list[str]:
    key = f"content {kind}"
    if key not in run.parts:
        run.spend(len(run.message.octets) // limits.GRAIN, line)
        run.parts[key] = [part.text for part in parts(run.message) if _is(part.type, kind)]
    return run.parts[key]


def _is(given: str, wanted: str) -> bool:
    """RFC 5173 5.2: a type, or a type with its subtype; anything else is never found."""
    if not wanted:
        return True
    if wanted.count("/") > 1 or wanted.startswith("/") or wanted.endswith("/"):
        return False
    return given == wanted if "/" in wanted else given.partition("/")[0] == wanted


def _text(run: Run, line: int) -> list[str]:
    if "text" not in run.parts:
        run.spend(len(run.message.octets) // limits.GRAIN, line)
        found = [part for part in parts(run.message) if part.type.startswith("text/") or part.type in _HTML]
        run.parts["text"] = [_read(part.text) if part.type in _HTML else part.text for part in found]
    return run.parts["text"]


_HTML = frozenset({"text/html", "application/xhtml+xml"})


def _read(text: str) -> str:
    """What a person reads of HTML."""
    out: list[str] = []
    lower, at = casemap(text), 0
    while (tag := lower.find("<", at)) >= 0:
        out.append(text[at:tag])
        ending = next((end for begin, end in _SKIPPED if lower.startswith(begin, tag)), "")
        if ending and (tag := lower.find(ending, tag)) < 0:
            break
        at = lower.find(">", tag) + 1
        if not at:
            break
    else:
        out.append(text[at:])
    return html.unescape("".join(out))


_SKIPPED = (("<!--", "-->"), ("<script", "</script"), ("<style", "</style"))
"""what nobody reads, and how it ends"""


def body(context: Context, node: Node, taken: Taken) -> Test:
    """`body`."""
    match = matcher(context, comparison(context, taken, node, sets_variables=False), context.texts(taken.strings(0)))
    given = taken.tags.get("body part")
    line = node.line
    if given is None or given.name == "text":
        return lambda run: match(run, _text(run, line))
    if given.name == "raw":
        return lambda run: match(run, _raw(run, line))
    wanted = taken.text("body part")
    assert wanted is not None
    types = tuple(kind.lower() for kind in context.constants(wanted, "a content type"))
    return lambda run: match(run, [text for kind in types for text in _content(run, kind, line)])


_PARTS = {"raw": TagUse("body part"), "text": TagUse("body part"), "content": TagUse("body part", Want.STRINGS)}
TESTS: dict[str, tuple[Signature, TestBuilder]] = {
    "body": (Signature((Want.STRINGS,), {**MATCH, **_PARTS}, requires=("body",)), body),
}
