"""A fault at every line of a driver, the journal, the run pool and the supervisor, one by one.

Whatever kind it is, SystemExit among them: nothing acknowledged is lost, nothing is run again
behind its receipt, the neighbour does not notice, and everybody who waits is answered.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pykka
import pytest
from fault_points import FaultPoints
from fault_story import KINDS, MARK, told

from meerkat.store import MemoryStore

PARTS: dict[str, tuple[str, ...]] = {
    "a driver": (
        "driver",
        "driver_loading",
        "driver_messages",
        "driver_next",
        "driver_release",
        "driver_rest",
        "driver_restart",
        "driver_runs",
        "seat",
        "ticket",
    ),
    "the journal": ("journal",),
    "the run pool": ("attention", "executors", "run_link", "run_places", "run_watch", "runs"),
    "the supervisor": ("directory", "passivation", "supervisor"),
}
WHOLE_LIFE = frozenset({"the supervisor"})
EVERY = int(os.environ.get("MEERKAT_FAULT_POINTS_EVERY", "1"))
"""Of so many lines one is tried; each with one kind of error, or all with ``ALL_KINDS``."""

ALL_KINDS = "MEERKAT_FAULT_POINTS_ALL_KINDS" in os.environ


@pytest.fixture(autouse=True)
def host_actor() -> Iterator[pykka.ActorRef[pykka.ThreadingActor]]:
    """An actor of the host's own, which goes on whatever happens in ours."""
    actor = pykka.ThreadingActor.start()
    yield actor
    assert actor.is_alive()
    actor.stop()


@pytest.mark.parametrize("part", PARTS)
def test_a_fault_at_any_line_costs_nothing_that_was_acknowledged(part: str) -> None:
    modules, whole_life = PARTS[part], part in WHOLE_LIFE
    lines = FaultPoints(*modules)
    with lines.installed():
        told(MemoryStore(), lines, whole_life=whole_life)
    threads, fired, tried = threading.active_count(), 0, 0
    for number, (point, passes) in list(enumerate(sorted(lines.reached.items())))[::EVERY]:
        kinds = KINDS if ALL_KINDS else (KINDS[number % len(KINDS)],)
        for kind in kinds:
            points = FaultPoints(*modules)
            points.raise_at(point, kind(MARK), after=(passes // 2) * (number % 2))
            try:
                with points.installed():
                    told(MemoryStore(), points, whole_life=whole_life)
            except BaseException as error:
                raise AssertionError(f"{kind.__name__} at {point}: {error!r}") from error
            fired += points.fired
            tried += 1
    print(f"faults in {part}: {tried} tried, {fired} came true; lost 0, run again 0")  # noqa: T201
    assert fired > tried * 0.6, "most lines are not reached any more"
    assert threading.active_count() <= threads + 2
