"""SIGKILL at any moment of pruning: every step is whole, and keys are known for ever."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from uuid import UUID

from store_processes import Child, child

from meerkat import IdempotencyKey, InputPhase, RunId
from meerkat.limits import Retention
from meerkat.store import SqliteStore
from meerkat.store.retention import slim
from meerkat.testing.store_rows import R1, R2, START, batch, prompt, receipt, row_of

KILLS = 12
RUNS = 40
LIMIT = 3
NONE_WHOLE = Retention(max_count=0)
LATER = START + timedelta(days=1)


def contributors(run: int) -> tuple[int, int, int]:
    """Two receipts a run: one of two inputs, one of one."""
    return 3 * run, 3 * run + 1, 3 * run + 2


def fill(path: Path) -> None:
    store = SqliteStore(path)
    for run in range(RUNS):
        run_id, numbers = RunId(UUID(int=run)), contributors(run)
        rows = [
            row_of(prompt(n, f"key-{n}"), InputPhase.CONSUMED, n, last_run_id=run_id)
            for n in numbers
        ]
        receipts = (
            receipt(0, *numbers[:2], run_id=run_id),
            receipt(1, numbers[2], run_id=run_id),
        )
        store.commit(
            batch(R1, *rows, after=int(run > 0), receipts=receipts, next_admission_sequence=999)
        )
    store.close()


def prune_for_ever(path: Path, it: Child) -> None:
    """Prune in small steps, with commits of another runtime in between; say each step."""
    store = SqliteStore(path)
    after: str | None = None
    while True:
        step = store.prune(NONE_WHOLE, LATER, after=after, limit=LIMIT)
        row = store.load_runtime(R2)
        fence = 0 if row is None else row.fence
        store.commit(batch(R2, after=fence, fence=fence + 1))
        after = step.next
        it.say(f"step {step.inputs}")


def check(path: Path) -> int:
    """What is stored agrees with itself; gives how many inputs are whole."""
    store = SqliteStore(path)
    states = {s.input_id.value.int: s for s in store.page_terminal_inputs(R1).items}
    assert sorted(states) == list(range(3 * RUNS))
    whole = {number for number, state in states.items() if state.history}
    for number, state in states.items():
        assert store.load_input_by_key(R1, IdempotencyKey(f"key-{number}")) == state
        assert number in whole or state == slim(state)
        assert state.phase is InputPhase.CONSUMED
    receipts = {
        run_id: list(of_run)
        for run_id, of_run in groupby(store.page_receipts(R1).items, key=lambda r: r.run_id)
    }
    for run in range(RUNS):
        kept = receipts.get(RunId(UUID(int=run)), [])
        assert [each.sequence for each in kept] == ([0, 1] if whole & {*contributors(run)} else [])
    store.close()
    return len(whole)


def test_kills_leave_every_step_whole(path: Path) -> None:
    chance = random.Random(20260102)
    fill(path)
    left = check(path)
    assert left == 3 * RUNS
    for _ in range(KILLS):
        with child(lambda it: prune_for_ever(path, it)) as it:
            said = [it.heard() for _ in range(chance.randrange(5))]
            said += it.kill()
        now = check(path)
        assert now <= left - sum(int(line.split()[1]) for line in said)
        left = now
    store = SqliteStore(path)
    after: str | None = None
    while (after := store.prune(NONE_WHOLE, LATER, after=after).next) is not None:
        pass
    store.close()
    assert check(path) == 0
