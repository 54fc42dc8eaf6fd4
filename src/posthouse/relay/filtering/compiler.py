"""From a script to something that runs (RFC 5228 3, 4): every fault with its line, at most `PROBLEMS` of them.

`compile_script` never runs anything; `evaluate` never raises: what goes wrong is the outcome's error, and the message kept.
"""

from collections.abc import Callable
from typing import TypeVar

from posthouse.relay.filtering import body_test, commands, core_tests, date_tests, limits
from posthouse.relay.filtering.actions import Keep, Outcome, Step
from posthouse.relay.filtering.arguments import Signature, Taken, Tests, Want, take
from posthouse.relay.filtering.capabilities import is_known, may_be_tried
from posthouse.relay.filtering.context import Command, CommandBuilder, Context, Test, TestBuilder
from posthouse.relay.filtering.fault import Problem, RunFault, ScriptError
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.parser import parse
from posthouse.relay.filtering.run import Run, Stop, Surroundings
from posthouse.relay.filtering.syntax import Node, Strings

R = TypeVar("R")
_TESTS: dict[str, tuple[Signature, TestBuilder]] = {**core_tests.TESTS, **date_tests.TESTS, **body_test.TESTS}
_COMMANDS: dict[str, tuple[Signature, CommandBuilder]] = commands.COMMANDS
_REQUIRE = Signature((Want.STRINGS,))
_IF = Signature(tests=Tests.ONE, block=True)
_ELSE = Signature(block=True)
_STOP = Signature()
_COST = 4


class Script:
    """A compiled script; it can be evaluated as often as one likes."""

    __slots__ = ("_commands", "regex_size", "required")

    def __init__(self, made: tuple[Command, ...], required: frozenset[str], regex_size: int) -> None:
        self._commands = made
        self.required = required
        """extensions it uses"""
        self.regex_size = regex_size
        """instructions of its regular expressions"""

    def evaluate(self, message: Message, envelope: Envelope, around: Surroundings, budget: int = limits.BUDGET) -> Outcome:
        """What it wants done with the message."""
        run = Run(message, envelope, around, budget)
        try:
            for command in self._commands:
                command(run)
        except Stop:
            pass
        except RunFault as fault:
            return _failed(run, fault.problem, budget)
        except RecursionError:
            return _failed(run, Problem(0, "the script is nested too deeply"), budget)
        if run.implicit_keep:
            try:
                run.add(Keep(run.flags), 0)
            except RunFault as fault:
                return _failed(run, fault.problem, budget)
        return Outcome(tuple(run.actions), "", run.implicit_keep, budget - run.budget, tuple(run.steps))


def _failed(run: Run, problem: Problem, budget: int) -> Outcome:
    said = str(problem).encode("utf-8", "replace").decode()
    return Outcome((Keep(),), said, implicit_keep=True, work=budget - run.budget, steps=tuple(run.steps))


def compile_script(text: str, *, explain: bool = False, joined: bool = False) -> Script:
    """Compile a script.

    Args:
        text: the script.
        explain: evaluations write down their steps.
        joined: it is several scripts one behind the other, so that `require` may stand anywhere at the top.

    Raises:
        ScriptError: with every fault.
    """
    nodes = parse(text)
    context = Context(explain)
    made = _Compiler(context, joined=joined).block(nodes, top=True)
    if context.problems:
        raise ScriptError(context.problems[: limits.PROBLEMS])
    return Script(made, frozenset(context.allowed), context.regex_size)


class _Compiler:
    def __init__(self, context: Context, *, joined: bool) -> None:
        self._context = context
        self._joined = joined

    def block(self, nodes: tuple[Node, ...], *, top: bool = False) -> tuple[Command, ...]:
        """The commands of a block in their order."""
        made: list[Command] = []
        begun, place = not top, 0
        while place < len(nodes):
            node = nodes[place]
            place += 1
            if node.name == "require":
                self._require(node, begun=begun and not (top and self._joined))
                continue
            begun = True
            if node.name == "if":
                end = place
                while end < len(nodes) and nodes[end].name in {"elsif", "else"}:
                    end += 1
                    if nodes[end - 1].name == "else":
                        break
                made.append(self._if(nodes[place - 1 : end]))
                place = end
            elif node.name in {"elsif", "else"}:
                self._context.fault(node.line, f"{node.name} must follow an if or elsif")
                while place < len(nodes) and node.name == "elsif" and nodes[place].name in {"elsif", "else"}:
                    node = nodes[place]  # one fault for the whole chain
                    place += 1
            elif node.name == "stop":
                if self._taken(node, _STOP) is not None:
                    made.append(self._stop(node.line))
            else:
                command = self._command(node)
                if command is not None:
                    made.append(self._charged(command, node.line))
        return tuple(made)

    @staticmethod
    def _charged(inner: Callable[[Run], R], line: int) -> Callable[[Run], R]:
        """A command or a test that is charged for."""

        def charged(run: Run) -> R:
            run.budget -= _COST  # as `spend` does, which a script would call for every second step
            if run.budget < 0:
                run.spend(0, line)
            return inner(run)

        return charged

    def _stop(self, line: int) -> Command:
        context = self._context

        def stop(run: Run) -> None:
            if context.explain:
                run.steps.append(Step(line, "stop"))
            raise Stop

        return stop

    def _require(self, node: Node, *, begun: bool) -> None:
        taken = self._taken(node, _REQUIRE)
        if begun:
            self._context.fault(node.line, "require must stand before every other command")
        if taken is not None:
            strings = taken.strings(0)
            for name in strings.items:
                if not begun or is_known(name):
                    self._context.require(name, strings.line)

    def _command(self, node: Node) -> Command | None:
        found = _COMMANDS.get(node.name)
        if found is None:
            what = "is a test, not a command" if node.name in _TESTS or node.name in core_tests.GROUPS else ""
            self._context.fault(node.line, f"'{node.name}' {what}" if what else f"unknown command '{node.name}'")
            return None
        signature, build = found
        if not self._may(node, signature):
            return None
        taken = self._taken(node, signature)
        return None if taken is None else build(self._context, node, taken)

    def _may(self, node: Node, signature: Signature) -> bool:
        if signature.requires and not self._context.allowed.intersection(signature.requires):
            self._context.fault(node.line, f'{node.name} needs require "{signature.requires[0]}"')
            return False
        return True

    def _taken(self, node: Node, signature: Signature) -> Taken | None:
        """The node's arguments; None when something is wrong with them, its tests or its block."""
        context = self._context
        taken = take(node.name, node.line, node.arguments, signature, frozenset(context.allowed))
        if not isinstance(taken, Taken):
            for line, reason in taken:
                context.fault(line, reason)
            return None
        wrong = _misshapen(node, signature)
        if wrong:
            context.fault(node.line, f"{node.name} {wrong}")
        return None if wrong else taken

    def _if(self, chain: tuple[Node, ...]) -> Command:
        branches: list[tuple[Test | None, tuple[Command, ...], int]] = []
        for node in chain:
            taken = self._taken(node, _ELSE if node.name == "else" else _IF)
            known = self._known(node.tests[0]) if node.tests else None
            test = self._test(node.tests[0]) if taken is not None and node.name != "else" else None
            body = () if known is False else self.block(node.block or ())
            branches.append((test, body, node.line))
            if known is True:
                break  # what follows never runs
        return _branching(branches)

    def _known(self, test: Node) -> bool | None:
        """What a test of `ihave` is bound to be. A block that cannot run for it is not looked at (RFC 5463 4)."""
        if "ihave" not in self._context.allowed:
            return None
        if test.name == "ihave":
            return all(may_be_tried(name) for each in test.arguments if isinstance(each, Strings) for name in each.items)
        inner = [self._known(each) for each in test.tests]
        if test.name == "not" and inner and inner[0] is not None:
            return not inner[0]
        decisive = {"allof": False, "anyof": True}.get(test.name)
        if decisive is None or not inner:
            return None
        if decisive in inner:
            return decisive
        return None if None in inner else not decisive

    def _test(self, node: Node) -> Test | None:
        context = self._context
        group = core_tests.GROUPS.get(node.name)
        if group is not None:
            if self._taken(node, group) is None:
                return None
            inner = tuple(test for each in node.tests if (test := self._test(each)) is not None)
            return self._grouped(node, inner) if len(inner) == len(node.tests) else None
        found = _TESTS.get(node.name)
        if found is None:
            what = "is a command, not a test" if node.name in _COMMANDS else ""
            context.fault(node.line, f"'{node.name}' {what}" if what else f"unknown test '{node.name}'")
            return None
        signature, build = found
        if not self._may(node, signature):
            return None
        taken = self._taken(node, signature)
        return None if taken is None else self._charged(build(context, node, taken), node.line)

    @staticmethod
    def _grouped(node: Node, inner: tuple[Test, ...]) -> Test:
        if node.name == "not":
            only = inner[0]
            return lambda run: not only(run)
        decisive = node.name == "anyof"

        def grouped(run: Run) -> bool:
            for test in inner:
                if test(run) is decisive:
                    return decisive
            return not decisive

        return grouped


def _misshapen(node: Node, signature: Signature) -> str:
    """What is wrong with the tests or the block behind the arguments."""
    fits = {
        Tests.NONE: not node.tests,
        Tests.ONE: len(node.tests) == 1 and not node.listed,
        Tests.LIST: bool(node.tests) and node.listed,
    }[signature.tests]
    if not fits:
        forgotten = signature.tests is Tests.NONE and not node.listed
        hint = f": is there a ';' missing before '{node.tests[0].name}'?" if forgotten else ""
        return f"takes {signature.tests.value}{hint}"
    if signature.block == (node.block is not None):
        return ""
    return "needs a block" if signature.block else "takes no block"


def _branching(branches: list[tuple[Test | None, tuple[Command, ...], int]]) -> Command:
    chain = tuple(branches)

    def command(run: Run) -> None:
        for test, body, line in chain:
            run.budget -= 1
            if run.budget < 0:
                run.spend(0, line)
            if test is None or test(run):
                for each in body:
                    each(run)
                return

    return command
