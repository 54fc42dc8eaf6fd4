"""Runs a generator that asks questions, with a directory that answers them.

Routing is pure: it yields questions and is sent answers. `advance` runs it as far as the cache goes, without waiting,
which is the whole way for a recipient seen lately; `drive` waits for the directory where the cache has nothing.
"""

from collections.abc import Generator
from typing import Generic, TypeVar

import msgspec

from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.question import Answer, Question

R = TypeVar("R")


class Finished(msgspec.Struct, Generic[R], frozen=True):
    """The generator has returned."""

    value: R


def advance(
    asking: Generator[Question, Answer, R], directory: Directory, answer: Answer | None = None
) -> Finished[R] | Question:
    """Run to the end or to the first question the cache cannot answer.

    Args:
        asking: the generator, not started (answer None) or waiting for an answer.
        directory: whose cache is asked; no I/O happens here.
        answer: the answer it is waiting for.
    """
    try:
        question = next(asking) if answer is None else asking.send(answer)
        while (known := directory.cached(question)) is not None:
            question = asking.send(known)
    except StopIteration as stop:
        return Finished(stop.value)
    return question


async def drive(asking: Generator[Question, Answer, R], directory: Directory) -> R:
    """Run to the end, waiting for the directory where it must be asked."""
    step = advance(asking, directory)
    while not isinstance(step, Finished):
        step = advance(asking, directory, await directory.answer(step))
    return step.value
