"""What the children of test 12 do: a steady stream of inputs for many sessions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Event, active_count

from actors import ControlPlane
from meerkat import (
    AcceptOutcome,
    CompletionOutcome,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
)
from meerkat.limits import Limits
from meerkat.outcomes import Accepted
from meerkat.store import SqliteStore
from meerkat.testing.kills import DATABASE
from meerkat.testing.processes import Told

RUNTIMES = [f"session-{number}" for number in range(200)]
INPUTS_A_SECOND = 200
LOOKS_EVERY_S = 1.0
LIMITS = Limits(crash_attempts_max=1_000_000)
KEPT = 20
"""Messages of a session: the load itself is not to grow."""


def soak(told: Told, folder: Path, life: int, seconds: float) -> None:
    """Offer inputs at their times, say how the process is; at the end work everything off.

    Runtimes leave memory while nothing is asked of them, and are loaded again.
    """
    plane = ControlPlane(
        SqliteStore(folder / DATABASE), _Agent(told), limits=LIMITS, passivate_after=0.5
    )
    with plane:
        plane.register_many(RUNTIMES)
        looks = time.monotonic()
        for number, name in zip(_paced(seconds), cycle(RUNTIMES), strict=False):
            text = f"{life}-{number}"
            sent = plane.submit(name, PromptInput(text, idempotency_key=text))
            sent.accepted.add_done_callback(partial(_accepted, told, name, sent.completion))
            if time.monotonic() >= looks:
                looks += LOOKS_EVERY_S
                told.say("health", *health())
        plane.stop(drain=True)


def _paced(seconds: float) -> Iterator[int]:
    """Numbers, each when its time has come; what is late is made up for."""
    began, never = time.monotonic(), Event()
    for number in range(int(seconds * INPUTS_A_SECOND)):
        never.wait(max(0.0, began + number / INPUTS_A_SECOND - time.monotonic()))
        yield number


def _accepted(
    told: Told,
    name: str,
    completion: Future[CompletionOutcome],
    accepted: Future[AcceptOutcome],
) -> None:
    outcome = accepted.result()
    assert isinstance(outcome, Accepted), outcome
    told.accepted(name, outcome.input_id)
    completion.add_done_callback(
        lambda ended: told.resolved(name, outcome.input_id, ended.result())
    )


def health() -> tuple[int, int, int]:
    """Bytes of memory, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(list(Path("/proc/self/fd").iterdir()))
    return pages * os.sysconf("SC_PAGE_SIZE"), files, active_count()


class _Agent:
    def __init__(self, told: Told) -> None:
        self._told = told

    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        ids = primitive.contributing_input_ids
        self._told.called(context.runtime_id, context.run_id, ids)
        said = {"role": "user", "content": primitive.text}
        if len(context.messages) < KEPT:
            return RunOutput(append=[said])
        return RunOutput(messages=[said])
