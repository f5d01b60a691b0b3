"""Makes docs/tables.md: the diagrams and tables of the docs that the code already has.

Run it from the project's folder whenever a test says so: python docs/make_tables.py
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

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
from meerkat.words import Word

TARGET: Final = Path(__file__).with_name("tables.md")

_HEAD: Final = """\
# What may follow what, and what is decided

This page is made from the code by `python docs/make_tables.py`; a test fails when it is not up to
date.
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            "## An input, from its acceptance to its end\n",
            *_diagram(input_lifecycle.TRANSITIONS, InputPhase.ACCEPTED, sorted(TERMINAL, key=str)),
            "## A runtime\n",
            *_diagram(
                runtime_lifecycle.TRANSITIONS,
                RuntimeState.INITIALIZING,
                [RuntimeState.DESTROYED],
            ),
            "`retire` while running leaves the run in hand, which then ends in retired; the end of",
            "a run leads back to where it came from.\n",
            "## What the default policy decides\n",
            *_policy(),
            "## Errors and their codes\n",
            *_table(("Code", "Error", "Says"), _errors()),
            "## Fail points\n",
            "Where a test can have something happen; see [testing](testing.md).\n",
            *_table(
                ("Point", "What has happened"),
                ((f"`{point}`", text) for point, text in WHAT_HAS_HAPPENED.items()),
            ),
        ]
    )


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = tuple(names)
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
    yield ""


def _diagram(
    transitions: Mapping[Any, Mapping[Any, Any]], first: Word, last: Iterable[Word]
) -> Iterator[str]:
    """A state diagram: one arrow for each pair of states, with all steps that take it."""
    arrows = sorted(
        (str(before), str(after), str(step))
        for step, pairs in transitions.items()
        for before, after in pairs.items()
    )
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    for (before, after), taken in groupby(arrows, key=lambda arrow: arrow[:2]):
        yield f"    {before} --> {after}: {', '.join(step for _, _, step in taken)}"
    for state in last:
        yield f"    {state} --> [*]"
    yield "```\n"


def _policy() -> Iterator[str]:
    names = ("Input", "Lane", "Wakes an idle runtime", "While a run is in hand", "In its lane")
    kinds = ((f"`{kind}`", DEFAULTS[kind]) for kind in InputKind)
    modes = ((f"any with mode `{mode}`", EXPLICIT_MODES[mode]) for mode in HandlingMode)
    yield from _table(names, (_decided(name, *row) for name, row in (*kinds, *modes)))
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
        yield f"`{code}`", f"`{each.__name__}`", said.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
