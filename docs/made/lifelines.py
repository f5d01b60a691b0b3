"""State diagrams: a line for each state, and a row for each step, with an arrow across the lines.

So a diagram of any table of steps is legible, and nobody has to lay it out by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from made.drawing import arrow, box, drawing, words
from meerkat.words import Word

LABELS: Final = 180
"""Room for the names of the steps, on the left."""

COLUMN: Final = 110
ROW: Final = 40
HEAD: Final = 76
DOT: Final = 5
WIDEST: Final = 19
"""Letters of a step that fit into one line; of a state, two thirds of them."""


def picture(
    title: str,
    steps: Mapping[Any, Mapping[Any, Any]],
    states: Sequence[Word],
    ends: Collection[Word],
) -> str:
    """The states in this order, those at which it ends marked; the steps as the table has them."""
    places = {state: LABELS + COLUMN * (number + 0.5) for number, state in enumerate(states)}
    bottom = HEAD + ROW * len(steps) + 20
    parts = [*_states(places, ends, bottom)]
    for number, (step, pairs) in enumerate(steps.items()):
        parts += _step(str(step), pairs, places, HEAD + ROW * (number + 0.5))
    return drawing(LABELS + COLUMN * len(states) + 20, bottom + 16, title, parts)


def _states(places: Mapping[Word, float], ends: Collection[Word], bottom: float) -> Iterator[str]:
    for state, x in places.items():
        kind = "box" if state in ends else "strong"
        yield f'<path class="life" d="M{x} {HEAD - 12} V{bottom}"/>'
        yield box(x - COLUMN / 2 + 4, 16, COLUMN - 8, HEAD - 28, kind)
        yield from _lines(x, 45, _broken(str(state), WIDEST * 2 // 3), "title")


def _step(
    step: str, pairs: Mapping[Any, Any], places: Mapping[Word, float], y: float
) -> Iterator[str]:
    yield from _lines(16, y + 5, _broken(step, WIDEST), "left")
    for before in (state for state in places if state in pairs):  # a set has its own order
        after = pairs[before]
        start, end = places[before], places[after]
        if before is after:
            yield f'<circle class="stays" cx="{start}" cy="{y}" r="{DOT + 4}"/>'
        else:
            towards = 1 if end > start else -1
            yield arrow(f"M{start} {y} H{end - 2 * towards}")
        yield f'<circle class="head" cx="{start}" cy="{y}" r="{DOT}"/>'


def _lines(x: float, y: float, lines: Sequence[str], kind: str) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield words(x, y + 15 * (number - (len(lines) - 1) / 2), line, kind)


def _broken(name: str, widest: int) -> list[str]:
    """A long name in lines, broken behind its underscores."""
    lines = [""]
    for part in name.replace("_", "_ ").split(" "):
        if lines[-1] and len(lines[-1] + part) > widest:
            lines.append("")
        lines[-1] += part
    return lines
