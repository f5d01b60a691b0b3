"""The page of tables: what may follow what, what is decided, the errors, the fail points."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

from made import lifelines
from made.markdown import MADE, table
from meerkat import errors, input_lifecycle, runtime_lifecycle
from meerkat.errors import MeerkatError
from meerkat.fail_points import WHAT_HAS_HAPPENED
from meerkat.input_lifecycle import TERMINAL, InputPhase
from meerkat.inputs import HandlingMode
from meerkat.origins import InputKind
from meerkat.policy import (
    DEFAULTS,
    EXPLICIT_MODES,
    IGNORES_MODE,
    PolicyDecision,
    QueueMode,
    WakeMode,
)
from meerkat.runtime_lifecycle import RuntimeState

_HEAD: Final = f"""\
# What may follow what, and what is decided

{MADE}"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            "## An input, from its acceptance to its end\n",
            *_steps("../images/input-steps.svg", input_lifecycle.TRANSITIONS),
            "## A runtime\n",
            *_steps("../images/runtime-steps.svg", runtime_lifecycle.TRANSITIONS),
            "`retire` while running leaves the run in hand, which then ends in retired; the end of",
            "a run leads back to where it came from.\n",
            "## What the default policy decides\n",
            *_policy(),
            "## Errors and their codes\n",
            *table(("Code", "Error", "Says"), _errors()),
            "## Fail points\n",
            "Where a test can have something happen; see [testing](../how-to/testing.md).\n",
            *table(
                ("Point", "What has happened"),
                ((f"`{point}`", text) for point, text in WHAT_HAS_HAPPENED.items()),
            ),
        ]
    )


def _steps(of: str, steps: Mapping[Any, Mapping[Any, Any]]) -> Iterator[str]:
    """The picture of the steps, and the same for who reads a table, or has one read out."""
    yield f"![The steps of the table below, drawn]({of})\n"
    yield "A dot is where a step begins, the head of an arrow where it ends; a ring: it stays.\n"
    yield from table(("Step", "From", "To"), _from_and_to(steps))


def _from_and_to(steps: Mapping[Any, Mapping[Any, Any]]) -> Iterator[tuple[str, str, str]]:
    for step, pairs in steps.items():
        for after in dict.fromkeys(pairs.values()):
            before = [f"`{each}`" for each in type(after) if pairs.get(each) is after]
            yield f"`{step}`", ", ".join(before), f"`{after}`"


def input_picture() -> str:
    """The life of an input."""
    return lifelines.picture(
        "What may happen to an input, step by step",
        input_lifecycle.TRANSITIONS,
        list(InputPhase),
        TERMINAL,
    )


def runtime_picture() -> str:
    """The life of a runtime."""
    return lifelines.picture(
        "What may happen to a runtime, step by step",
        runtime_lifecycle.TRANSITIONS,
        list(RuntimeState),
        {RuntimeState.DESTROYED},
    )


def _policy() -> Iterator[str]:
    names = ("Input", "Lane", "Wakes an idle runtime", "While a run is in hand", "In its lane")
    kinds = ((f"`{kind}`", DEFAULTS[kind]) for kind in InputKind)
    modes = ((f"any with mode `{mode}`", EXPLICIT_MODES[mode]) for mode in HandlingMode)
    yield from table(names, (_decided(name, *row) for name, row in (*kinds, *modes)))
    ignoring = ", ".join(f"`{kind}`" for kind in InputKind if kind in IGNORES_MODE)
    yield f"A mode changes nothing for {ignoring}."
    yield f"In the queue lane an input with a supersession key has `{QueueMode.SUPERSEDE}`.\n"


def _decided(name: str, idle: PolicyDecision, running: PolicyDecision) -> tuple[object, ...]:
    if idle.lane is None:
        return name, "none: consumed when it is accepted", "no", "nothing", ""
    wakes = "no" if idle.wake_mode is WakeMode.NONE else "yes"
    return name, f"`{idle.lane}`", wakes, _BESIDE_A_RUN[running.wake_mode], idle.queue_mode


_BESIDE_A_RUN: Final = {
    WakeMode.NONE: "it waits",
    WakeMode.WAKE_IF_IDLE: "it waits",
    WakeMode.INTERRUPT_YIELDING: "a run that waits is told",
}


def _errors() -> Iterator[tuple[str, str, str]]:
    """Every error that has a code of its own, with the first sentence about it."""
    found = {
        each.code: each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, MeerkatError) and "code" in vars(each)
    }
    for code, each in sorted(found.items()):
        said = (inspect.getdoc(each) or "").split("\n\n")[0].replace("\n", " ")
        yield f"`{code}`", f"`{each.__name__}`", said
