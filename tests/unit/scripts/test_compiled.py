"""The memory of compiled scripts: bounded by what they take."""

from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.scripts.compiled import CompiledScripts


def test_a_script_is_compiled_once_and_the_oldest_is_forgotten() -> None:
    memory = CompiledScripts(scripts=2)
    first = memory.script("keep;", joined=False)
    assert memory.script("keep;", joined=False) is first
    memory.script("stop;", joined=False)
    memory.script("keep;", joined=False)
    memory.script("nope", joined=False)
    assert memory.knows("keep;", joined=False)
    assert not memory.knows("stop;", joined=False)
    assert isinstance(memory.script("nope", joined=False), ScriptError)
    assert not memory.knows("keep;", joined=True)


def test_what_just_fits_is_kept() -> None:
    memory = CompiledScripts(text=10)
    for script in ("keep;", "stop;"):
        memory.script(script, joined=False)
    assert memory.knows("keep;", joined=False)


def test_regular_expressions_count_as_the_memory_they_take() -> None:
    small, large = "keep;" * 100, 'require "regex"; if header :regex "a" ".{900}" { stop; }'
    memory = CompiledScripts(text=10_000)
    memory.script(small, joined=False)
    memory.script("stop;", joined=False)
    assert memory.knows(small, joined=False)
    memory.script(large, joined=False)
    assert memory.knows(large, joined=False)
    assert not memory.knows(small, joined=False)
    memory.script(small, joined=False)  # what was counted for the large one is given back
    memory.script("stop;", joined=False)
    assert memory.knows(small, joined=False)
