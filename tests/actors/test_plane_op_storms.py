"""Operations in a storm: threads begin and end them while their epochs come and go.

Nothing waits for ever, everybody who waits for an operation is told, and what was told is
what the store holds.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from operation_builders import CHILD, SLOT, TOOL, plain, rows_of_epoch
from plane_builders import WAIT_S, Agent, OpenPlane, event, result_of

from actors import ControlPlane
from meerkat import OperationId, SessionRuntimeBindings
from meerkat.errors import CallTimedOut, RuntimeControlPlaneError
from meerkat.limits import Limits
from meerkat.operation_errors import OperationError
from meerkat.operations import OperationKind, OperationOutcome
from meerkat.store import SqliteStore

RUNTIMES = ("a", "b", "c")
KINDS = (TOOL, TOOL, CHILD, SLOT)
ENDERS = 4
OPERATIONS = 60
STEPS = 40

Step = Callable[[ControlPlane, str], Any]
STEPS_OF: dict[str, tuple[Step, ...]] = {
    "reset": (ControlPlane.reset,),
    "unregister": (ControlPlane.unregister,),
    "destroy": (ControlPlane.destroy,),
    "recycle": (ControlPlane.recycle, ControlPlane.recover),
    "stop": (ControlPlane.stop_runtime, ControlPlane.reset),
    "retire": (ControlPlane.retire, ControlPlane.recycle),
    "all": (
        ControlPlane.reset,
        ControlPlane.unregister,
        ControlPlane.recycle,
        ControlPlane.recover,
        ControlPlane.stop_runtime,
    ),
}


@contextmanager
def refusals() -> Iterator[None]:
    """A caller may be told that the runtime, the plane or the epoch is not there, in time."""
    try:
        yield
    except CallTimedOut:
        raise
    except (RuntimeControlPlaneError, OperationError):
        pass


@frozen
class Begun:
    """An operation that was begun, and who waits for it."""

    bindings: SessionRuntimeBindings
    operation_id: OperationId
    kind: OperationKind
    watcher: Future[OperationOutcome]


@frozen
class Storm:
    """Threads that work on a plane, and everything they have begun."""

    plane: ControlPlane
    begun: list[Begun] = field(factory=list)
    names: Sequence[str] = RUNTIMES

    def begin_and_end(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(OPERATIONS):
            with refusals():
                name = chance.choice(self.names)
                bindings = self.plane.register(name, timeout=WAIT_S)
                self.begin(bindings, chance.choice(KINDS))
                if chance.random() < 0.2:
                    self.plane.submit(name, event())
                self.end(chance)

    def begin(self, bindings: SessionRuntimeBindings, kind: OperationKind) -> None:
        registry, operation_id = bindings.ops_lifecycle, OperationId.new()
        registry.register(operation_id, kind=kind, display_name="search")
        self.begun.append(Begun(bindings, operation_id, kind, registry.watch(operation_id)))
        registry.provisioning_succeeded(operation_id)

    def end(self, chance: random.Random) -> None:
        """End one of the last, an own one or another thread's; some are left to live."""
        begun = chance.choice(self.begun[-2 * ENDERS :])
        end = chance.choice(["complete", "fail", "cancel"])
        getattr(begun.bindings.ops_lifecycle, end)(begun.operation_id, "done")

    def step(self, seed: int, steps: tuple[Step, ...]) -> None:
        chance = random.Random(seed)
        for _ in range(STEPS):
            with refusals():
                chance.choice(steps)(self.plane, chance.choice(self.names), timeout=WAIT_S)

    def rage(self, steps: tuple[Step, ...], meanwhile: Callable[[], Any] | None = None) -> None:
        with ThreadPoolExecutor(ENDERS + 2) as threads:
            calls = [threads.submit(self.begin_and_end, seed) for seed in range(ENDERS)]
            calls.append(threads.submit(self.step, ENDERS, steps))
            if meanwhile is not None:
                calls.append(threads.submit(meanwhile))
            for each in calls:
                each.result(6 * WAIT_S)

    def check(self, path: Path) -> None:
        """Everybody was told, once, what the store says."""
        told = {each.operation_id: result_of(each.watcher) for each in self.begun}
        epochs = {each.bindings.epoch_id: each.bindings for each in self.begun}
        stored = {}
        for epoch_id, bindings in epochs.items():
            rows, registry = rows_of_epoch(path, epoch_id), bindings.ops_lifecycle
            stored.update({row.operation_id: row.outcome for row in rows})
            entries = registry.list_since(0).entries
            assert [row.operation_id for row in rows] == [each.operation_id for each in entries]
            assert rows == [plain(registry.snapshot(row.operation_id)) for row in rows]
            assert registry.live_ids == ()
        recorded = {each.operation_id for each in self.begun if each.kind is not SLOT}
        assert stored == {each: told[each] for each in recorded}
        assert self.begun


@pytest.fixture
def storm(open_plane: OpenPlane, path: Path) -> Storm:
    limits = Limits(operations_kept_max=10_000, feed_entries_max=10_000)
    plane = open_plane(Agent(), store=SqliteStore(path), limits=limits, grace_s=3 * WAIT_S)
    plane.register_many(RUNTIMES)
    return Storm(plane)


@pytest.mark.parametrize("steps", STEPS_OF)
def test_everybody_is_told_while_epochs_come_and_go(storm: Storm, path: Path, steps: str) -> None:
    if steps == "destroy":  # each can be destroyed once
        storm = Storm(storm.plane, names=[f"d-{number}" for number in range(STEPS)])
    storm.rage(STEPS_OF[steps])
    storm.plane.stop()
    storm.check(path)


@pytest.mark.parametrize("after", [5, 40, 120])
def test_everybody_is_told_when_the_plane_stops_in_a_storm(
    storm: Storm, path: Path, after: int
) -> None:
    reached = threading.Event()

    class Counting(list[Begun]):
        def append(self, begun: Begun) -> None:
            super().append(begun)
            if len(self) >= after:
                reached.set()

    raging = Storm(storm.plane, Counting())

    def stop() -> None:
        assert reached.wait(WAIT_S)
        raging.plane.stop()

    raging.rage(STEPS_OF["all"], stop)
    raging.check(path)
