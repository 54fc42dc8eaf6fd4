"""The pages and the code name the same things: commands and their options, configuration options, keywords, files, decisions."""

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from cyclopts import App

from posthouse.cli import COMMANDS
from posthouse.config import dispatcher_cnf, job_controller_cnf, keywords, known_options, store_conf, tailor
from posthouse.dispatcher.trouble import WHATS
from posthouse.relay.directory import attributes
from posthouse.relay.routing.refusal import Refusal
from posthouse.testing.tiers import posthouse

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "posthouse"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
MANUAL = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
OPTIONS = known_options.INTEGERS | known_options.NUMBERS | known_options.TEXTS
CHANNEL_OPTIONS = known_options.CHANNEL_INTEGERS | known_options.CHANNEL_NUMBERS | known_options.CHANNEL_TEXTS
JOB_OPTIONS = frozenset(chain.from_iterable(job_controller_cnf._SECTIONS.values())) | job_controller_cnf._GLOBAL
_SECTION = re.compile(r"^## ", re.MULTILINE)


def commands(text: str) -> Iterator[str]:
    """Every `posthouse ...` of indented blocks, continued lines joined, and of text between backticks."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        found = re.match(r"(?: {4}.*?[|;&] *(?:ssh \w+ )?| {4})(?:\S*/)?posthouse (.*)", line)
        if found:
            yield re.split(r"\s#|\s{3,}|\s&&\s|\s\|\s|\s>\s", found[1])[0]
    prose = re.sub(r"^ {4}.*", "", text, flags=re.MULTILINE).replace("\n", " ")
    yield from re.findall(r"`(?:\S*/)?posthouse ([a-z][^`]*)`", prose)


def apps() -> App:
    app = App(name="posthouse")
    for name, (path, _) in COMMANDS.items():
        app.command(path, name=name)
    return app


def unknown_words(app: App, command: str) -> list[str]:
    """Words of a command that no command or option has."""
    words = shlex.split(command)
    while words and words[0] in app:
        app = app[words.pop(0)]
    if app.default_command is None:
        return [word for word in words[0].split("|") if word not in app and word != "..."] if words else []
    known = set(chain.from_iterable(one.names for one in app.assemble_argument_collection()))
    return [word for word in words if word.startswith("--") and word.partition("=")[0].rstrip("],.:") not in known]


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page: Path) -> None:
    app = apps()
    written = list(commands(page.read_text(encoding="utf-8")))
    assert {command: words for command in written if (words := unknown_words(app, command))} == {}


def test_commands_are_found_and_faults_are_seen() -> None:
    text = (
        "    posthouse queue list --json   # what\n    a | ssh b posthouse store nosuch x\n"
        "and `posthouse route A --odd`, `posthouse queue`\n"
    )
    assert list(commands(text)) == ["queue list --json", "store nosuch x", "route A --odd", "queue"]
    assert [unknown_words(apps(), each) for each in commands(text)] == [[], ["nosuch"], ["--odd"], []]
    assert sum(len(list(commands(page.read_text(encoding="utf-8")))) for page in MANUAL) > 100


def test_help_shows_defaults_that_say_something() -> None:
    told = posthouse("queue", "list", "--help").stdout + posthouse("stop", "--help").stdout
    assert "--channel" in told
    assert re.findall(r"\[default: (.*?)\]", told) == ["120.0"]


def headings(page: Path) -> set[str]:
    """The anchors of a page."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_files_and_decisions_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = set()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            missing.add(link)
    for name in re.findall(r"\b((?:docs|tests|bench|examples|src|store|relay)/[\w/.-]+\.(?:md|py|svg|c))\b", text):
        if not (ROOT / name).exists() and not (SOURCE / name).exists():
            missing.add(name)
    for number in re.findall(r"decisions? (\d+)", text):
        if not list((ROOT / "docs" / "decisions").glob(f"{int(number):04d}-*.md")):
            missing.add(f"decision {number}")
    assert missing == set()


def test_the_lists_of_pages_are_whole() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in MANUAL[1:] if f"(docs/{page.name})" not in readme] == []
    decisions = ROOT / "docs" / "decisions"
    listed = (decisions / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in decisions.glob("0*.md") if f"({page.name})" not in listed] == []


def section(title: str) -> str:
    """One chapter of configuration.md."""
    return next(part for part in _SECTION.split(CONFIGURATION) if part.startswith(title))


def names_in(text: str, pattern: str) -> set[str]:
    """What stands between backticks in first columns of tables and looks like this."""
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for quoted in re.findall(r"`([^`]+)`", row) for name in re.findall(pattern, quoted)}


def test_options_of_the_tables_are_known() -> None:
    upper = r"^[A-Z0-9][A-Z0-9_]+$"
    assert names_in(section("option.dat"), upper) - OPTIONS == set()
    assert names_in(section("CHANNEL_option"), upper) - CHANNEL_OPTIONS == set()
    assert names_in(section("dispatcher.cnf"), upper) - dispatcher_cnf._KNOWN == set()
    assert names_in(section("job_controller.cnf"), upper) - JOB_OPTIONS == set()
    assert names_in(section("imta.cnf"), r"^[a-z0-9_]+(?= |$)") - keywords.TAKES.keys() == {"client"}  # an ending
    settings = names_in(section("store.conf"), r"^[a-z._]+$")
    assert settings == set(store_conf._SETTINGS)


def test_options_of_examples_are_known() -> None:
    """A line NAME=value of an indented block on any page."""
    known = OPTIONS | CHANNEL_OPTIONS | dispatcher_cnf._KNOWN | JOB_OPTIONS | set(tailor.DEFAULTS) | {"FORMAT", "TIMEOUT"}
    text = "\n".join(page.read_text(encoding="utf-8") for page in MANUAL)
    written = set(re.findall(r"^ {4}(?:.*[ ,])?([A-Z][A-Z_]{3,})=\S", text, re.MULTILINE))
    assert written - known == {"NAME", "OPTION"}
    option_file = re.findall(r"\w+_option +((?:[A-Z_]+=\S+ ?)+)", text)
    assert len(option_file) > 0
    assert {pair.partition("=")[0] for line in option_file for pair in line.split()} - CHANNEL_OPTIONS == set()


def words_of_the_source(skip: set[str]) -> set[str]:
    """Every word in a string of the code that is no docstring."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path.name in skip:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                found |= set(re.findall(r"\w+", node.value))
    return found


def test_what_the_code_reads_is_on_a_page() -> None:
    pages = set(re.findall(r"\w+", "\n".join(page.read_text(encoding="utf-8") for page in MANUAL)))
    used = words_of_the_source({"keywords.py", "known_options.py", "idle.py"})
    attribute_names = {*attributes.USER_OPTIONS, *attributes.DOMAIN_OPTIONS, *attributes.NAMED_BY_OPTION_ONLY}
    shortened = {"ALIAS_URL1", "ALIAS_URL2", "ALIAS_ENTRY_CACHE_SIZE", "ALIAS_ENTRY_CACHE_NEGATIVE", "DOMAIN_MATCH_CACHE_SIZE"}
    shortened |= {"STATUS_DATA_RECV_PER_BLOCK_TIME", "STATUS_DATA_RECV_PER_ADDR_PER_BLOCK_TIME", "LDAP_DOMAIN_FILTER_SCHEMA2"}
    assert shortened <= OPTIONS | CHANNEL_OPTIONS
    read = (OPTIONS | CHANNEL_OPTIONS) & used | {f"ERROR_TEXT_{refusal.value[0]}" for refusal in Refusal if refusal.value[0]}
    named = {name for name in read if name.removeprefix("ERROR_TEXT_") in pages}
    assert read - named - attribute_names - shortened == {"FORWARD_FORMAT"}  # is warned about only
    assert dispatcher_cnf._KNOWN - pages == set()
    assert JOB_OPTIONS - pages == set()


def test_every_trouble_is_in_the_table() -> None:
    rows = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("| `what` in ")[2].partition("\n\n")[0]
    assert names_in(rows, r"^\w+$") == set(WHATS)
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    said = re.findall(r'(?:\bTrouble\(|"what": )"(\w+)"', source)
    assert set(said) == {"host", "worker", "channel", "configuration", "version"} < set(WHATS)  # of the others mypy knows
