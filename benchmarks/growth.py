"""Does an input cost more when its runtime has a long past? Time and memory, as ratios.

    python benchmarks/growth.py [--items N] [--rounds N] [--past N]

Two databases are made, whose one runtime has 100 and N (100,000) finished inputs with
their receipts and messages. Each round works the same number of inputs off in both, in a
child process each, in turn; the ratio of every round is taken, and their median printed.
The first run after loading reads the session once, to go on with its digest; it is not
part of the time per input, and is printed by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from throughput import answer

from actors import ControlPlane
from meerkat import InputState, PromptInput, RunBoundaryReceipt, RunId, RuntimeEpochId, SessionId
from meerkat.admission import encode_input
from meerkat.conversation import AppendMessages
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import consume_at_boundary, queue_accepted, stage_for_run
from meerkat.policy import DEFAULT_POLICY, RunBoundary
from meerkat.store import Batch, InputRow, RuntimeRow, SqliteStore

RUNTIME = LogicalRuntimeId("session")
SHORT = 100
INPUTS_A_BATCH = 1_000
PAYLOAD_BYTES_MAX = 1024 * 1024
MESSAGES = b'[{"content":"message","role":"user"},{"content":"noted","role":"assistant"}]'


def finished(number: int, run_id: RunId) -> InputRow:
    """An input as it is stored once it has gone all the way."""
    now = datetime.now(UTC)
    offered = PromptInput(f"message {number}", idempotency_key=f"past-{number}")
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    state = InputState.of(offered, now)
    state = queue_accepted(state, now, policy=decision, sequence=number)
    state = stage_for_run(state, now, run_id=run_id)
    state = consume_at_boundary(state, now, run_id=run_id, sequence=0, result="noted")
    return InputRow(state, encode_input(offered, PAYLOAD_BYTES_MAX))


def make_past(path: Path, count: int) -> None:
    """Write a runtime with this many finished inputs."""
    store = SqliteStore(path)
    session_id, epoch_id = SessionId.new(), RuntimeEpochId.new()
    for start in range(0, count, INPUTS_A_BATCH):
        end = min(start + INPUTS_A_BATCH, count)
        run_ids = [RunId.new() for _ in range(start, end)]
        rows = [finished(start + index, run_id) for index, run_id in enumerate(run_ids)]
        store.commit(
            Batch(
                runtime=RuntimeRow(
                    runtime_id=RUNTIME,
                    session_id=session_id,
                    epoch_id=epoch_id,
                    fence=1,
                    next_admission_sequence=end,
                ),
                expected_fence=min(start, 1),
                inputs=tuple(rows),
                receipts=tuple(
                    RunBoundaryReceipt(
                        run_id=run_id,
                        boundary=RunBoundary.RUN_START,
                        contributing_input_ids=(row.state.input_id,),
                        message_count=2 * (start + index + 1),
                        sequence=0,
                    )
                    for index, (run_id, row) in enumerate(zip(run_ids, rows, strict=True))
                ),
                session=tuple(
                    AppendMessages(2 * number, 2, MESSAGES) for number in range(start, end)
                ),
            )
        )
    store.close()


def resident_bytes() -> int:
    """Memory of this process that is in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def work(path: Path, items: int) -> dict[str, float]:
    """Work inputs off; seconds an input, seconds of the first, memory after."""
    with ControlPlane(store=SqliteStore(path), executor=answer) as plane:
        began = time.perf_counter()
        plane.submit(RUNTIME, PromptInput("first")).completion.result()
        first_s = time.perf_counter() - began
        began = time.perf_counter()
        submissions = [
            plane.submit(RUNTIME, PromptInput("again", idempotency_key=f"{began}-{number}"))
            for number in range(items)
        ]
        for submission in submissions:
            submission.completion.result()
        item_s = (time.perf_counter() - began) / items
        return {"item_s": item_s, "first_s": first_s, "resident": resident_bytes()}


def in_child(path: Path, items: int) -> dict[str, float]:
    """Work on a copy of the database, in a process of its own."""
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    command = [sys.executable, __file__, "--work", str(copy), "--items", str(items)]
    done = subprocess.run(  # noqa: S603 - this very script
        command, check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure and print the ratios, or do one measurement as a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--past", type=int, default=100_000)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        print(json.dumps(work(options.work, options.items)))
        return
    with tempfile.TemporaryDirectory() as name:
        short, long = Path(name, "short.db"), Path(name, "long.db")
        make_past(short, SHORT)
        make_past(long, options.past)
        pairs = [
            (in_child(short, options.items), in_child(long, options.items))
            for _ in range(options.rounds)
        ]
    print(f"past of {options.past:,} over past of {SHORT}: median of {options.rounds} rounds\n")
    for label, key in (("time an input", "item_s"), ("resident memory", "resident")):
        ratios = [after[key] / before[key] for before, after in pairs]
        print(
            f"{label:18} {statistics.median(ratios):5.2f} x "
            f"(from {min(ratios):.2f} to {max(ratios):.2f})"
        )
    first = statistics.median(after["first_s"] for _, after in pairs)
    print(f"{'first run':18} {first * 1000:5.0f} ms after loading, reading the session once")


if __name__ == "__main__":
    main()
