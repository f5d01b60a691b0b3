"""Schedules: a plane whose every step waits for the test, so that any order can be forced.

The steps of one runtime are those of the threads that end operations (the record is sent,
the end is published, the runtime is told), the commits, and the runs that return. A step is
taken when everybody stands still; what can be taken next is known then, so that all orders
can be gone through, each once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from operation_builders import check_cursors, running
from plane_builders import WAIT_S, OpenPlane, decided, prompt, result_of, spoken, system_of
from plane_stores import StoreProxy

from actors import ControlPlane
from actors import messages as m
from actors.directory import Directory
from actors.operation_log import OperationLog
from actors.replies import Reply
from actors.run_link import DriverLink
from actors.seat import Seat
from meerkat import OperationId, RunContext, RunOutput, StagedInput
from meerkat.errors import StoreError
from meerkat.events import EventCode
from meerkat.store import Batch, MemoryStore, RuntimeStore

Choose = Callable[[int], int]
"""Which of so many steps is taken next."""


class SteppedDisk(StoreProxy):
    """A store whose commits wait for a step each, while they are held."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.at_gate = False
        self._held = False
        self._changed = threading.Condition()

    def hold(self) -> None:
        self._held = True

    def let_go(self) -> None:
        with self._changed:
            self._held = self.at_gate = False
            self._changed.notify_all()

    def step(self) -> None:
        with self._changed:
            self.at_gate = False
            self._changed.notify_all()

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        with self._changed:
            self.at_gate = self._held
            assert self._changed.wait_for(lambda: not self.at_gate, 3 * WAIT_S)
        return super().commit_many(batches)


class Ending:
    """A thread that ends one operation, and where it stands."""

    def __init__(self, scene: Scene) -> None:
        self.operation_id = running(scene.bindings)
        self.reply: Reply[None] | None = None
        self.place = "begin"
        self._complete = scene.bindings.ops_lifecycle.complete
        self._gates = {name: threading.Event() for name in ("publish", "tell")}

    def stands(self) -> bool:
        if self.place == "record":
            return self.reply is not None and not self.reply.done()
        return self.place != "moving"

    def wait_at(self, place: str) -> None:
        self.place = place
        assert self._gates[place].wait(3 * WAIT_S)

    def step(self) -> None:
        place, self.place = self.place, "moving"
        if place == "begin":
            threading.Thread(target=self._end, daemon=True).start()
        else:
            self._gates[place].set()

    def _end(self) -> None:
        self._complete(self.operation_id)
        self.place = "over"


class Scene:
    """One runtime, a run of it that is under way, and operations that are to end."""

    def __init__(self, stage: Stage, name: str, operations: int) -> None:
        self.bindings = stage.plane.register(name)
        self.saw: list[int] = []
        self.begun = self.returning = self.returned = 0
        self.may_return = threading.Semaphore(0)
        self._stage, self._name = stage, name
        stage.scenes[name] = self
        self.endings = [Ending(self) for _ in range(operations)]
        stage.endings.update({each.operation_id: each for each in self.endings})

    def steps(self) -> list[Callable[[], None]]:
        """What can happen next. An operation ends once the one before it is published."""
        steps: list[Callable[[], None]] = []
        published = True
        for each in self.endings:
            if each.place in ("publish", "tell") or (each.place == "begin" and published):
                steps.append(each.step)
            published = each.place in ("tell", "over")
        if len(self.saw) > self.returning:
            steps.append(self._return_run)
        if self._stage.disk.at_gate:
            steps.append(self._stage.disk.step)
        return steps

    def _return_run(self) -> None:
        self.returning += 1
        self.may_return.release()

    def stand_still(self) -> None:
        """Wait until nobody moves: twice, as the driver may have been told of something."""
        still = 0
        while still < 2:
            decided(self._stage.plane, self._name)
            still = still + 1 if self._stands() else 0

    def _stands(self) -> bool:
        runs = len(self.saw) == self.begun and self.returning == self.returned
        journal = system_of(self._stage.plane).journal
        commits = self._stage.disk.at_gate or not journal._awake
        return runs and commits and all(each.stands() for each in self.endings)

    def play(self, choose: Choose) -> None:
        """Take one step after the other, until there is none."""
        disk = self._stage.disk
        self._stage.plane.submit(self._name, prompt("run"))
        result_of(decided(self._stage.plane, self._name))  # that they have begun is stored too
        self.stand_still()
        disk.hold()
        try:
            while steps := self.steps():
                steps[choose(len(steps))]()
                self.stand_still()
                check_cursors(self.bindings)
        finally:
            disk.let_go()


class Stage:
    """A plane of scenes, each with a runtime of its own."""

    def __init__(self, open_plane: OpenPlane, patch: pytest.MonkeyPatch) -> None:
        self.disk = SteppedDisk(MemoryStore())
        self.scenes: dict[str, Scene] = {}
        self.endings: dict[OperationId, Ending] = {}
        self._patch(patch)
        self.plane: ControlPlane = open_plane(self._perform, store=self.disk)

    def scene(self, operations: int) -> Scene:
        return Scene(self, f"scene-{len(self.scenes)}", operations)

    def _perform(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        scene = self.scenes[str(context.runtime_id)]
        scene.saw.append(context.bindings.ops_lifecycle.watermark)
        assert scene.may_return.acquire(timeout=3 * WAIT_S)
        return RunOutput(append=spoken(primitive))

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        record, deliver = OperationLog.record, Directory.deliver
        begin, ended = Seat.begin, DriverLink.ended

        def recording(log: OperationLog, operation: Any, entry: Any) -> None:
            record(log, operation, entry)
            self.endings[operation.operation_id].wait_at("publish")

        def delivering(directory: Directory, runtime_id: Any, message: Any) -> None:
            match message:
                case m.RecordOperation(row=row, reply=reply):
                    deliver(directory, runtime_id, message)
                    ending = self.endings[row.record.operation_id]
                    ending.reply, ending.place = reply, "record"
                case m.OperationMoved(event=event) if event.code is EventCode.OPERATION_COMPLETED:
                    self.endings[event.operation_id].wait_at("tell")
                    deliver(directory, runtime_id, message)
                case _:
                    deliver(directory, runtime_id, message)

        def beginning(seat: Seat, *run: Any) -> None:
            self.scenes[str(seat._id)].begun += 1
            begin(seat, *run)

        def ending(link: DriverLink, how: Any) -> None:
            ended(link, how)
            self.scenes[str(link._runtime_id)].returned += 1

        patch.setattr(OperationLog, "record", recording)
        patch.setattr(Directory, "deliver", delivering)
        patch.setattr(Seat, "begin", beginning)
        patch.setattr(DriverLink, "ended", ending)


def every_order(play: Callable[[Choose], None]) -> int:
    """Call ``play`` once for each way to choose; gives how many there are."""
    plays, wanted = 0, list[int]()
    while True:
        taken: list[tuple[int, int]] = []

        def choose(options: int, taken: Any = taken, wanted: Any = wanted) -> int:
            chosen = wanted[len(taken)] if len(taken) < len(wanted) else 0
            taken.append((chosen, options))
            return chosen

        play(choose)
        plays += 1
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return plays
        wanted = [chosen for chosen, _ in taken[:-1]] + [taken[-1][0] + 1]
