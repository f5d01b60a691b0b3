"""Workloads for a disk that loses power: what is done on it, and who was told what and when.

Each leaves marks on the disk in the words of :class:`meerkat.testing.Promises`, as they were
told to a host: ``("accepted", runtime, input)``, ``("called", runtime, run, inputs)``,
``("receipt", runtime, its JSON)``, ``("resolved", runtime, input, how)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from attrs import evolve

from actors import ControlPlane
from meerkat.codec import from_json
from meerkat.inputs import PromptInput
from meerkat.interfaces import RunContext
from meerkat.limits import Retention
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunOutput, StagedInput
from meerkat.store import SqliteStore
from meerkat.testing import PowerLossState, Promises, RecordingDisk
from meerkat.testing.kill_load import LIMITS, PATIENCE_S, work
from meerkat.testing.kills import DATABASE
from meerkat.testing.processes import Told

Pragmas = Mapping[str, object]
Record = Callable[[Path, Pragmas], RecordingDisk]
"""Works in an empty folder, with some settings other than the store's; gives what happened."""

LIVES: Final = 3
AGENTS: Final = 10
ROUNDS: Final = 4
OFTEN: Final[Pragmas] = {"wal_autocheckpoint": 40}
"""Pages in the log before they are carried over: that happens several times in a life."""

CUTS: Final = 200
"""States among which to look for one with much left over."""

_ROOMY: Final = evolve(LIMITS, live_runtimes_max=AGENTS)
_TEXT: Final = "a long message " * 100
_KEEP: Final = Retention(max_count=6)


class TellsDisk(Told):
    """Marks the disk, where a child of the kill load would tell its parent."""

    def __init__(self, disk: RecordingDisk) -> None:
        self._disk = disk

    def say(self, *words: Any) -> None:
        self._disk.acknowledged(tuple(tuple(w) if isinstance(w, list) else w for w in words))


def promised(marks: Iterable[Hashable]) -> Promises:
    """What a host had been told, to be held against a store."""
    promises = Promises()
    mark: Any
    for place, mark in enumerate(marks):
        match mark:
            case ("receipt", runtime_id, text):
                promises.receipt(runtime_id, from_json(RunBoundaryReceipt, text.encode()))
            case ("resolved", runtime_id, input_id, kind):
                promises.resolved(runtime_id, input_id, kind, handle=place)
            case (what, *words):
                getattr(promises, what)(*words)
    return promises


# --- what is done -----------------------------------------------------------------------


def _lives(keep: Retention | None, folder: Path, pragmas: Pragmas) -> RecordingDisk:
    """A plane at work, closed and opened again; with its past cut down, if ``keep`` says so."""
    with RecordingDisk(folder, pragmas={**OFTEN, **pragmas}) as disk:
        for life in range(LIVES):
            with closing(SqliteStore(folder / DATABASE, connect=disk.connect)) as store:
                work(TellsDisk(disk), store, life, keep=keep)
    return disk


def _together(folder: Path, pragmas: Pragmas) -> RecordingDisk:
    """Many runtimes at once, whose batches share commits, and whose sessions grow."""
    with RecordingDisk(folder, pragmas={**OFTEN, **pragmas}) as disk:
        told = TellsDisk(disk)
        names = [f"agent-{number}" for number in range(AGENTS)]

        def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
            ids = primitive.contributing_input_ids
            told.called(context.runtime_id, context.run_id, ids)
            return RunOutput(append=[{"done": [str(each) for each in ids], "text": _TEXT}])

        store = SqliteStore(folder / DATABASE, connect=disk.connect)
        with closing(store), ControlPlane(store, agent, limits=_ROOMY) as plane:
            plane.register_many(names)
            for number in range(ROUNDS):
                offered = [(name, plane.submit(name, PromptInput(f"{number}"))) for name in names]
                for name, submission in offered:
                    accepted = submission.accepted.result(PATIENCE_S)
                    told.accepted(name, accepted.input_id)
                    outcome = submission.completion.result(PATIENCE_S)
                    told.resolved(name, accepted.input_id, outcome)
    return disk


def _cut_before(folder: Path, pragmas: Pragmas) -> RecordingDisk:
    """A life on what a power cut has left of others: recovery, on its own way to the disk."""
    cuts = _lives(None, folder, {}).states(seed=1, count=CUTS)
    left = max(cuts, key=_in_hand)
    left.write_to(folder)
    with RecordingDisk(folder, pragmas={**OFTEN, **pragmas}) as disk:
        for mark in left.acknowledged:
            disk.acknowledged(mark)
        with closing(SqliteStore(folder / DATABASE, connect=disk.connect)) as store:
            work(TellsDisk(disk), store, LIVES)
    return disk


def _in_hand(state: PowerLossState) -> int:
    """How many inputs were accepted and had not ended, as far as a host knew."""
    said = Counter(mark[0] for mark in cast("tuple[tuple[str, ...], ...]", state.acknowledged))
    return said["accepted"] - said["resolved"]


WORKLOADS: Final[Mapping[str, Record]] = {
    "lives": partial(_lives, None),
    "pruned lives": partial(_lives, _KEEP),
    "many at once": _together,
    "a life behind a power cut": _cut_before,
}
