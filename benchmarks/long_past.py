"""Is a store that has a long past slower than a new one? Throughput, as a ratio.

    python benchmarks/long_past.py [--inputs N] [--sessions N …] [--items N] [--rounds N]
                                   [--folder FOLDER]

For each number of sessions a database is filled with N (1,000,000) finished inputs, with
their receipts and messages, spread evenly over the sessions. Then each round works the same
number of inputs off over all these sessions, submitted without waiting, in a new database
and in the filled one, a process each, in turn; the ratio of each round is taken, and their
median printed: of wall time, and of the processes' CPU time, which says the same on a busy
machine. The first run of each session, which reads its messages, is not part of it.
``--folder`` keeps the filled databases there for another time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from attrs import evolve
from throughput import answer, work_off

from actors import ControlPlane
from meerkat import IdempotencyKey, InputId, PromptInput, RunBoundaryReceipt, RunId
from meerkat.admission import encode_input
from meerkat.conversation import AppendMessages
from meerkat.identifiers import LogicalRuntimeId, RuntimeEpochId, SessionId
from meerkat.input_lifecycle import InputState, consume_at_boundary, queue_accepted, stage_for_run
from meerkat.policy import DEFAULT_POLICY, RunBoundary
from meerkat.store import Batch, InputRow, RuntimeRow, SqliteStore

INPUTS_A_COMMIT: Final = 500
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
MESSAGES: Final = b'[{"content":"message","role":"user"},{"content":"noted","role":"assistant"}]'
PAST: Final = timedelta(days=30)
"""How long ago the past begins: identifiers of version 7 carry their time."""


def names(count: int) -> list[LogicalRuntimeId]:
    return [LogicalRuntimeId(f"session-{number}") for number in range(count)]


def identifiers_since(start: datetime) -> Iterator[UUID]:
    """Identifiers such as a host would have made, one a millisecond."""
    first_ms = int(start.timestamp() * 1000)
    scatter = 0x9E3779B97F4A7C15
    for number in itertools.count():
        chance = number * scatter % (1 << 62)
        yield UUID(
            int=(first_ms + number) << 80 | 7 << 76 | (number % 4096) << 64 | 2 << 62 | chance
        )


def template(at: datetime) -> tuple[InputState, PromptInput]:
    """An input as it is stored once it has gone all the way, and what was offered."""
    offered = PromptInput("message 1234567", idempotency_key="key")
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    state = queue_accepted(InputState.of(offered, at), at, policy=decision, sequence=0)
    run_id = RunId.new()
    state = stage_for_run(state, at, run_id=run_id)
    return consume_at_boundary(state, at, run_id=run_id, sequence=0, result="noted"), offered


class Past:
    """Writes finished inputs with their receipts and messages."""

    def __init__(self, start: datetime) -> None:
        self._ids = identifiers_since(start)
        self._state, offered = template(start)
        self._payload = encode_input(offered, PAYLOAD_BYTES_MAX)

    def batch(self, before: RuntimeRow, count: int) -> Batch:
        """What brings a runtime so many inputs further."""
        first = before.next_admission_sequence
        inputs, receipts = zip(
            *(self._one(number) for number in range(first, first + count)), strict=True
        )
        return Batch(
            runtime=evolve(before, fence=before.fence + 1, next_admission_sequence=first + count),
            expected_fence=before.fence,
            inputs=inputs,
            receipts=receipts,
            session=tuple(
                AppendMessages(2 * number, 2, MESSAGES) for number in range(first, first + count)
            ),
        )

    def _one(self, number: int) -> tuple[InputRow, RunBoundaryReceipt]:
        input_id, run_id = InputId(next(self._ids)), RunId(next(self._ids))
        state = evolve(
            self._state,
            input_id=input_id,
            idempotency_key=IdempotencyKey(f"past-{number}"),
            admission_sequence=number,
            last_run_id=run_id,
        )
        receipt = RunBoundaryReceipt(
            run_id=run_id,
            boundary=RunBoundary.RUN_START,
            contributing_input_ids=(input_id,),
            conversation_digest="0" * 64,
            message_count=2 * (number + 1),
            sequence=0,
        )
        return InputRow(state, self._payload), receipt


def fill(path: Path, sessions: int, inputs: int) -> None:
    """Write so many finished inputs, the sessions taking turns."""
    store, past = SqliteStore(path), Past(datetime.now(UTC) - PAST)
    rows = [
        RuntimeRow(runtime_id=name, session_id=SessionId.new(), epoch_id=RuntimeEpochId.new())
        for name in names(sessions)
    ]
    at_a_time, each = min(sessions, INPUTS_A_COMMIT), max(1, INPUTS_A_COMMIT // sessions)
    store.acquire()
    for _ in range(0, inputs // sessions, each):
        for first in range(0, sessions, at_a_time):
            batches = [past.batch(row, each) for row in rows[first : first + at_a_time]]
            answers = store.commit_many(batches)
            if any(answers):
                raise RuntimeError(str(answers))
            rows[first : first + at_a_time] = [batch.runtime for batch in batches]
    store.close()


def warm_up(plane: ControlPlane, known: Sequence[LogicalRuntimeId]) -> None:
    """Have every session work one input off, which reads its messages."""
    for start in range(0, len(known), INPUTS_A_COMMIT):
        group = known[start : start + INPUTS_A_COMMIT]
        plane.register_many(group)
        for first in [plane.submit(name, PromptInput("first")) for name in group]:
            first.completion.result()


def work(path: Path, sessions: int, items: int) -> dict[str, float]:
    """Items a second over all the sessions, submitted without waiting; and a CPU second."""
    known, mark = names(sessions), time.time_ns()
    with ControlPlane(SqliteStore(path), answer) as plane:
        warm_up(plane, known)
        began, spent = time.perf_counter(), time.process_time()
        work_off(plane, known, items, mark)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
    return {"second": items / seconds, "CPU second": items / spent}


def in_child(path: Path, sessions: int, items: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--work", str(path)]
    command += ["--sessions", str(sessions), "--items", str(items)]
    done = subprocess.run(  # noqa: S603 - this very script
        command, check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def one_round(filled: Path, sessions: int, items: int) -> tuple[dict[str, float], dict[str, float]]:
    """The figures in a new database, and in the filled one."""
    with tempfile.TemporaryDirectory(dir=filled.parent) as name:
        fresh = in_child(Path(name, "new.db"), sessions, items)
    return fresh, in_child(filled, sessions, items)


def show(sessions: int, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    """Print the lines of one number of sessions."""
    for unit in rounds[0][0]:
        fresh, long = (statistics.median(pair[place][unit] for pair in rounds) for place in (0, 1))
        ratios = [after[unit] / before[unit] for before, after in rounds]
        print(
            f"{sessions:8,} {unit:>10} {fresh:9,.0f} {long:9,.0f} {statistics.median(ratios):6.2f} "
            f"(from {min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def main() -> None:
    """Fill, measure and print the ratios, or do one measurement as a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--sessions", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        print(json.dumps(work(options.work, options.sessions[0], options.items)))
        return
    print(f"{options.inputs:,} finished inputs over none, {options.items:,} items a round\n")
    print(f"{'sessions':>8} {'items a':>10} {'new':>9} {'long past':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        for sessions in options.sessions:
            filled = folder / f"past-{sessions}-{options.inputs}.db"
            if not filled.exists():
                fill(filled, sessions, options.inputs)
            rounds = [one_round(filled, sessions, options.items) for _ in range(options.rounds)]
            show(sessions, rounds)


if __name__ == "__main__":
    main()
