"""Kill programs: what the children of test 1 do besides the kit's own load.

One works a driver that works alone; the others are wrong, and are to be found out.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from meerkat import PersistentRuntimeDriver, PromptInput, RunOutput
from meerkat.errors import StoreError
from meerkat.identifiers import InputId
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.store import Batch, MemoryStore, SqliteStore
from meerkat.testing import StoreWrapper
from meerkat.testing.kill_load import load, work
from meerkat.testing.kills import DATABASE
from meerkat.testing.processes import Told

RULES = Rules(limits=Limits(crash_attempts_max=1_000_000))
STEER = {"handling_mode": "steer"}
INPUTS = 12


# --- one driver, and no plane -----------------------------------------------------------


def drive(told: Told, folder: Path, life: int) -> None:
    """Finish what is left, then accept, steer and run, one thing after the other."""
    store = SqliteStore(folder / DATABASE)
    driver = PersistentRuntimeDriver("alone", store, rules=RULES)
    if store.load_runtime(driver.runtime_id) is not None:
        driver.recover()
    _run_all(told, driver, None)
    for number in range(INPUTS):
        _accept(told, driver, PromptInput(f"{life}-{number}"))
        steered = PromptInput(f"{life}-{number}-steered", turn_metadata=STEER)
        _run_all(told, driver, steered if number % 3 == 0 else None)
    store.close()


def _accept(told: Told, driver: PersistentRuntimeDriver, offered: PromptInput) -> None:
    driver.accept_input(offered)
    told.accepted(driver.runtime_id, offered.id)


def _run_all(told: Told, driver: PersistentRuntimeDriver, steered: PromptInput | None) -> None:
    while driver.active_input_ids():
        ids = driver.start_run().contributing_input_ids
        run_id = driver.current_run_id
        assert run_id is not None
        told.called(driver.runtime_id, run_id, ids)
        if steered is not None:
            _accept(told, driver, steered)
            done = (steered.id,)
            told.receipt(driver.runtime_id, driver.commit_boundary(run_id, done, _did(done)))
            steered = None
        told.receipt(driver.runtime_id, driver.complete_run(run_id, _did(ids)))


def _did(ids: Sequence[InputId]) -> RunOutput:
    return RunOutput(append=[{"done": [str(each) for each in ids]}])


# --- what has to be found ---------------------------------------------------------------


class HastyStore(StoreWrapper):
    """Answers before it commits: the last groups, of a short life all, are in memory alone."""

    BEHIND = 64

    def __init__(self, path: Path) -> None:
        super().__init__(MemoryStore())
        self._disk = SqliteStore(path)
        self._waiting: deque[list[Batch]] = deque()

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        answers = super().commit_many(batches)
        self._waiting.append(list(batches))
        if len(self._waiting) > self.BEHIND:
            self._disk.commit_many(self._waiting.popleft())
        return answers


def hasty(told: Told, folder: Path, life: int) -> None:
    """Acknowledges before it commits."""
    work(told, HastyStore(folder / DATABASE), life)


_UNDO = """
UPDATE inputs SET outcome = NULL, phase = 'queued',
    state = json_remove(json_set(state, '$.phase', 'queued'), '$.terminal_outcome')
"""


def forgetful(told: Told, folder: Path, life: int) -> None:
    """Takes what has ended for what still waits, once it has lived before."""
    if life > 1:
        with sqlite3.connect(folder / DATABASE) as connection:
            connection.execute(_UNDO)
        connection.close()
    load(told, folder, life)
