"""Wait chains: from one blocking wait, over whatever has to end first, to what can still move.

Everything here looks and nothing waits. A wait is dead when nothing that it leads to can move:
each run on the way waits in its turn, without a bound, for something behind it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Protocol

from attrs import define

from actors.driver_doing import Doing
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
from meerkat.words import Word

LINES_SHOWN: Final = 8
"""Waits of one chain that are put into words."""


class On(Word):
    """What a blocking call waits for, besides its runtime's driver."""

    INPUT = "input"
    """The end of an input."""
    RUN_END = "run_end"
    """The end of the run in hand."""
    RETURN = "return"
    """The end of the run in hand, if the runtime is being unregistered."""
    HOST = "host"
    """Host code: a stop hook, which is given the plane's grace, or whatever makes events."""


ON: Final[Mapping[str, On]] = {
    "result": On.INPUT,
    "unregister": On.RUN_END,
    "register": On.RETURN,
    "register_many": On.RETURN,
    "prepare_bindings": On.RETURN,
    "stop_runtime": On.HOST,
    "next_event": On.HOST,
    "next_notice": On.HOST,
}
"""What each call waits for; one that is not here is answered by the driver alone."""


class WaitingRun(Protocol):
    """A run, as far as somebody may wait for it."""

    runtime_id: LogicalRuntimeId
    run_id: RunId
    cancelled: threading.Event


class Awaited(Protocol):
    """A future that is waited for."""

    @property
    def input_id(self) -> InputId | None:
        """The input whose end it tells, as far as that is decided."""
        ...

    def done(self) -> bool:
        """Has it its outcome? Takes no lock."""
        ...


@define(eq=False)
class Wait:
    """One blocking wait: which call, for what, on which thread and in which run."""

    call: str
    runtime_id: LogicalRuntimeId | None
    future: Awaited
    timeout_s: float | None
    thread: int
    run: WaitingRun | None
    since: float
    shown: bool = False

    @property
    def what(self) -> str:
        """What it waits for, in words."""
        if ON.get(self.call) is On.INPUT:
            named = self.future.input_id or "that is not accepted yet"
            return f"input {named} of {self.runtime_id}"
        return self.call if self.runtime_id is None else f"{self.call} of {self.runtime_id}"


class Scene(Protocol):
    """What can be seen of a plane: who runs, who waits, and what drivers are doing."""

    slots: int

    def runs_in_hand(self) -> Collection[WaitingRun]:
        """The runs that have not been told to leave."""
        ...

    def run_of(self, runtime_id: LogicalRuntimeId) -> WaitingRun | None:
        """The one of a runtime."""
        ...

    def wait_of(self, run: WaitingRun) -> Wait | None:
        """What a run waits for."""
        ...

    def doing(self, runtime_id: LogicalRuntimeId) -> Doing | None:
        """What the driver of a runtime is doing, if it has one."""
        ...


def dead_chain(wait: Wait, scene: Scene) -> tuple[str, ...]:
    """Who waits for whom from this wait on, if none of it can move; else nothing.

    A wait that ends by itself, after a time, moves; the first one is asked about, and counts
    as if it had no timeout.
    """
    lines: list[str] = []
    seen, ahead = {wait.run}, deque([wait])
    while ahead:
        each = ahead.popleft()
        runs = runs_behind(each, scene)
        if not runs:
            return ()
        lines.append(f"{name_of(each)} waits for {each.what}, {_reason(each, runs, scene)}")
        for run in runs:
            if run.cancelled.is_set():
                return ()
            if run not in seen:
                then = scene.wait_of(run)
                if then is None or then.timeout_s is not None:
                    return ()
                seen.add(run)
                ahead.append(then)
    return _shortened(lines)


def runs_behind(wait: Wait, scene: Scene) -> Collection[WaitingRun]:
    """The runs one of which has to end before the wait can; none when it may end without."""
    kind, runtime_id = ON.get(wait.call), wait.runtime_id
    if runtime_id is None or kind in {None, On.HOST} or wait.future.done():
        return ()
    doing = scene.doing(runtime_id)
    if doing is None or (kind is On.RETURN and not doing.leaving):
        return ()
    input_id = wait.future.input_id
    if kind is On.INPUT and (input_id is None or input_id in doing.at_boundary):
        return ()
    run = scene.run_of(runtime_id)
    if run is not None:
        return (run,)
    runs = scene.runs_in_hand()
    full = kind is On.INPUT and doing.waits_for_slot and len(runs) >= scene.slots
    return runs if full else ()


def story(wait: Wait, scene: Scene, now: float) -> str:
    """Since when somebody waits for what, what is done about it, and so on along the chain."""
    return "; ".join(_shortened(list(_told(wait, scene, now))))


def _told(wait: Wait, scene: Scene, now: float) -> Iterator[str]:
    seen, ahead = {wait}, deque([wait])
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    while ahead:
        each = ahead.popleft()
        thread = names.get(each.thread, each.thread)
        yield f"{name_of(each)} on {thread} has waited {now - each.since:.0f} s for {each.what}"
        if each.runtime_id is None:
            continue
        doing, run = scene.doing(each.runtime_id), scene.run_of(each.runtime_id)
        yield f"{each.runtime_id} {_standing(doing, run)}"
        for other in runs_behind(each, scene):
            then = scene.wait_of(other)
            if then is not None and then not in seen:
                seen.add(then)
                ahead.append(then)


def _standing(doing: Doing | None, run: WaitingRun | None) -> str:
    """What a runtime does, its run in hand first."""
    said = "is not in memory" if doing is None else str(doing)
    if run is None:
        return said or "has nothing to do"
    return f"has run {run.run_id} in hand" + (f", {said}" if said else "")


def name_of(wait: Wait) -> str:
    """Who waits."""
    run = wait.run
    return "a caller" if run is None else f"run {run.run_id} of {run.runtime_id}"


def _reason(wait: Wait, runs: Collection[WaitingRun], scene: Scene) -> str:
    first = next(iter(runs))
    if first.runtime_id == wait.runtime_id:
        return f"behind run {first.run_id} of {first.runtime_id}"
    return f"which needs one of {scene.slots} run slots"


def _shortened(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - LINES_SHOWN
    return tuple([*lines[:LINES_SHOWN], f"and {more} more"] if more > 0 else lines)
