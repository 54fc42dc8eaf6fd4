"""From tokens to the tree of commands (RFC 5228 8.2). What the commands mean is not known here.

    start    = *command
    command  = identifier *argument [ test / "(" test *("," test) ")" ] ( ";" / "{" *command "}" )
    argument = string / "[" string *("," string) "]" / number / tag

Refused with its line: what is not this grammar, nesting of blocks and tests beyond the limits, too long lists, a script that
is too long or not UTF-8 (RFC 5228 2.1).
"""

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.fault import Problem, ScriptError, SyntaxFault
from posthouse.relay.filtering.lexer import Kind, Token, tokens
from posthouse.relay.filtering.syntax import Argument, Node, Number, Strings, Tag


def parse(script: str) -> tuple[Node, ...]:
    """The script's commands.

    Raises:
        ScriptError: it is no script.
    """
    if len(script) > limits.SCRIPT_OCTETS:
        raise ScriptError([Problem(1, f"the script is longer than {limits.SCRIPT_OCTETS} octets")])
    problems: list[Problem] = []
    try:
        parser = _Parser(script, problems)
        commands = parser.commands(0)
    except SyntaxFault as fault:
        problems.append(fault.problem)
    if problems:
        raise ScriptError(problems)
    return commands


class _Parser:
    def __init__(self, script: str, problems: list[Problem]) -> None:
        self._problems = problems
        self._whole = True
        """tokens can still be read"""
        self._tokens = tokens(script.removeprefix("\ufeff"))
        self._now = next(self._tokens)
        self._nodes = 0

    def _count(self, line: int) -> None:
        self._nodes += 1
        if self._nodes > limits.NODES:
            raise SyntaxFault(line, f"the script has more than {limits.NODES} commands and tests")

    def _take(self) -> Token:
        token = self._now
        if token.kind is not Kind.END:
            self._whole = False
            self._now = next(self._tokens)
            self._whole = True
        return token

    def _at(self, mark: str) -> bool:
        return self._now.kind is Kind.MARK and self._now.text == mark

    def _unexpected(self, wanted: str) -> SyntaxFault:
        now = self._now
        return SyntaxFault(now.line, now.text if now.kind is Kind.BAD else f"expected {wanted}, but found {now.shown}")

    def _expect(self, mark: str, instead: str) -> None:
        if not self._at(mark):
            raise self._unexpected(instead)
        self._take()

    def commands(self, depth: int) -> tuple[Node, ...]:
        """As many as there are, to the end of the block or script."""
        found: list[Node] = []
        while self._now.kind is Kind.IDENTIFIER or (depth == 0 and self._now.kind is not Kind.END):
            try:
                if self._now.kind is not Kind.IDENTIFIER:
                    raise self._unexpected("a command")
                found.append(self._command(depth))
            except SyntaxFault as fault:
                if not self._whole or self._nodes > limits.NODES or len(self._problems) >= limits.PROBLEMS - 1:
                    raise
                self._problems.append(fault.problem)
                self._skip(depth)
        return tuple(found)

    def _skip(self, depth: int) -> None:
        """Go on behind the command that is wrong: its semicolon, its block, or before the end of the block it is in."""
        inside = 0
        while self._now.kind is not Kind.END:
            if self._at("}") and not inside and depth:
                return
            token = self._take()
            if token.kind is Kind.MARK:
                inside = max(0, inside + (token.text == "{") - (token.text == "}"))
                if not inside and token.text in {";", "}"}:
                    return

    def _command(self, depth: int) -> Node:
        name = self._take()
        self._count(name.line)
        arguments = self._arguments()
        listed = self._at("(")
        tests = self._tests(0)
        if not self._at("{"):
            self._expect(";", "';' or a block '{'")
            return Node(name.line, name.text.lower(), arguments, tests, None, listed)
        if depth == limits.BLOCK_NESTING:
            raise SyntaxFault(self._now.line, f"blocks are nested deeper than {limits.BLOCK_NESTING}")
        self._take()
        block = self.commands(depth + 1)
        self._expect("}", "a command or the block's end '}'")
        return Node(name.line, name.text.lower(), arguments, tests, block, listed)

    def _tests(self, depth: int) -> tuple[Node, ...]:
        if self._now.kind is Kind.IDENTIFIER:
            return (self._test(depth),)
        if not self._at("("):
            return ()
        self._take()
        found = [self._test(depth)]
        while self._at(","):
            self._take()
            found.append(self._test(depth))
        self._expect(")", "',' or the test list's end ')'")
        return tuple(found)

    def _test(self, depth: int) -> Node:
        if self._now.kind is not Kind.IDENTIFIER:
            raise self._unexpected("a test")
        if depth >= limits.TEST_NESTING:
            raise SyntaxFault(self._now.line, f"tests are nested deeper than {limits.TEST_NESTING}")
        name = self._take()
        self._count(name.line)
        arguments = self._arguments()
        listed = self._at("(")
        return Node(name.line, name.text.lower(), arguments, self._tests(depth + 1), None, listed)

    def _arguments(self) -> tuple[Argument, ...]:
        found: list[Argument] = []
        while True:
            token = self._now
            if token.kind is Kind.STRING:
                found.append(Strings(token.line, (self._take().text,), listed=False))
            elif token.kind is Kind.NUMBER:
                found.append(Number(token.line, int(self._take().text)))
            elif token.kind is Kind.TAG:
                found.append(Tag(token.line, self._take().text.lower()))
            elif self._at("["):
                found.append(self._list())
            else:
                return tuple(found)

    def _list(self) -> Strings:
        line = self._take().line
        items: list[str] = []
        while True:
            if self._now.kind is not Kind.STRING:
                raise self._unexpected("a string in the list")
            items.append(self._take().text)
            if len(items) > limits.LIST_ITEMS:
                raise SyntaxFault(line, f"the list has more than {limits.LIST_ITEMS} strings")
            if self._at(","):
                self._take()
                continue
            self._expect("]", "',' or the list's end ']'")
            return Strings(line, tuple(items), listed=True)
