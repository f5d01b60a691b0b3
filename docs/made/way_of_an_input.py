"""The picture of the architecture: how one input travels, and on what its answer waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from made.drawing import arrow, box, drawing, words

TITLE: Final = (
    "An input goes from your program through the control plane into the mailbox of its runtime's "
    "driver. The driver decides, has the journal commit to the store, and only then releases: the "
    "answer to your program, and a run on a thread. The end of the run is a message to the driver "
    "like any other."
)

_STEPS: Final = (
    ("1  decide", "kernel.decide(memory, command, now)"),
    ("2  commit", "a ticket: all that changes, one batch"),
    ("3  release", "answers, events, runs, ended handles"),
)


def picture() -> str:
    """The whole picture."""
    return drawing(940, 440, TITLE, [*_boxes(), *_driver(), *_arrows()])


def _boxes() -> Iterator[str]:
    yield box(20, 90, 130, 190)
    yield words(85, 118, "your program", "title")
    yield words(85, 160, "ingest, submit", "soft")
    yield words(85, 238, "outcomes, events,", "soft")
    yield words(85, 255, "handles", "soft")
    yield box(206, 120, 148, 76)
    yield words(280, 148, "ControlPlane", "title")
    yield words(280, 168, "encodes, measures,", "soft")
    yield words(280, 184, "refuses at the door", "soft")
    yield box(764, 120, 162, 76)
    yield words(845, 148, "Journal", "title")
    yield words(845, 168, "one writer; the batches", "soft")
    yield words(845, 184, "of many runtimes", "soft")
    yield from _store()
    yield box(430, 360, 280, 60, "strong")
    yield words(570, 385, "executor(context, staged input)", "title")
    yield words(570, 405, "yours, on a thread or the event loop", "soft")


def _store() -> Iterator[str]:
    yield (
        '<path class="box" d="M775 275 a70 12 0 0 1 140 0 v56 a70 12 0 0 1 -140 0 z"/>'
        '<path class="box" d="M775 275 a70 12 0 0 0 140 0" />'
    )
    yield words(845, 309, "store", "title")
    yield words(845, 328, "one file of SQLite", "soft")


def _driver() -> Iterator[str]:
    yield box(410, 40, 300, 262)
    yield words(560, 64, "DriverActor, one a live runtime", "title")
    yield words(560, 82, "its mailbox; many on few threads", "soft")
    for number, (step, what) in enumerate(_STEPS):
        top = 98 + 66 * number
        yield box(426, top, 268, 54, "strong")
        yield words(440, top + 23, step, "title left")
        yield words(440, top + 42, what, "soft left")


def _arrows() -> Iterator[str]:
    yield arrow("M150 158 H204")
    yield arrow("M354 158 H408")
    yield arrow("M694 191 H732 V158 H762")
    yield arrow("M845 196 V261")
    yield words(845, 228, "one commit", "soft on")
    yield arrow("M775 303 H740 V257 H696")
    yield words(722, 324, "it has landed", "soft")
    yield arrow("M426 257 H152")
    yield words(288, 250, "only now: the answer", "soft on")
    yield arrow("M600 284 V358")
    yield words(555, 336, "a run begins", "soft")
    yield arrow("M430 390 H376 V220 H408")
    yield words(300, 394, "RunEnded: a message", "soft")
    yield words(300, 411, "like any other", "soft")
