"""Builders: shards as they are in processes of their own, here in one, without Ray.

A ``FarShard`` is what a front door reaches: its calls can be lost on the way there or back, and
its process can end and be another one. The store is what a database would be: it stays.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from attrs import define, field
from plane_builders import WAIT_S

from actors import ControlPlane
from actors.light import LightEvent
from actors.ray import RayControlPlane
from actors.ray.looks import ShardLook
from actors.ray.remote import ShardAway
from actors.ray.shard import ShardProcess
from actors.ray.wire import Call, Numbered, Welcome, unpack
from actors.stopping import ShutdownReport
from meerkat.limits import DEFAULT_LIMITS
from meerkat.shards import Shard
from meerkat.store import RuntimeStore


@define
class Plan:
    """What a shard of a test opens."""

    shard: Shard
    store: RuntimeStore
    executor: Any
    settings: dict[str, Any]
    troubles: list[Exception] = field(factory=list)
    """What its next tries to open raise."""

    def open(self) -> ControlPlane:
        if self.troubles:
            raise self.troubles.pop(0)
        return ControlPlane(self.store, self.executor, **self.settings).start()


class FarShard:
    """One shard, and the wire to it."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self._loop = loop
        self.process: ShardProcess | None = None
        self.placed = 0
        self.ended = False
        self.taken: SimpleQueue[str] = SimpleQueue()
        """The names of the calls that have arrived."""
        self._losing: dict[str, list[Callable[[], None]]] = {"take": [], "poll": []}
        self._lock = threading.Lock()

    # --- what happens to it -------------------------------------------------------------

    def loses_answer_of(self, method: str, and_then: Callable[[], None] = lambda: None) -> None:
        """The next such call is carried out, and its answer does not arrive."""
        self._losing[method].append(and_then)

    def crash(self) -> None:
        """Its process ends; what it was about to say is never heard."""
        process, self.process = self.process, None
        if process is not None:
            process._leaving.set()
            if process._plane is not None:
                process._plane.stop(timeout=0)

    def comes_back(self) -> None:
        """Ray has started it again."""
        self.process = ShardProcess(lambda: self.plan, loads=unpack, node="here")  # type: ignore[arg-type,return-value]

    def crash_and_come_back(self) -> None:
        self.crash()
        self.comes_back()

    # --- what a front door calls --------------------------------------------------------

    def hello(self, token: str | None, first: int) -> Welcome:
        return self._ask("hello", "me", token, first)

    def take(self, token: str, calls: tuple[Call, ...]) -> bool:
        known: bool = self._ask("take", "me", token, calls)
        for call in calls:
            self.taken.put(call.name)
        return known

    def poll(self, token: str, through: int) -> tuple[Numbered, ...] | None:
        return self._ask("poll", "me", token, through)

    def stop(self, *, drain: bool, timeout_s: float, within_s: float) -> ShutdownReport:
        return self._ask("stop", drain, timeout_s)

    def hurry(self) -> None:
        self._ask("hurry")

    def look(self) -> ShardLook:
        return self._ask("look")

    def end(self) -> None:
        self.ended = True
        self.crash()

    def let_go(self) -> None:
        self.end()

    def place(self, pause: LightEvent) -> None:
        self.placed += 1
        self.comes_back()

    def _ask(self, method: str, *arguments: Any) -> Any:
        process = self.process
        if process is None:
            raise ShardAway("it is not there")
        future = asyncio.run_coroutine_threadsafe(getattr(process, method)(*arguments), self._loop)
        while True:
            try:
                given = future.result(0.02)
                break
            except TimeoutError:
                if self.process is not process:
                    raise ShardAway("it has gone") from None
        if self.process is not process:
            raise ShardAway("it has gone")
        if self._losing.get(method) and given not in ((), None):
            happens = threading.Thread(target=self._losing[method].pop(0))
            happens.start()  # a thread of the line may not wait for the end of a plane
            happens.join(WAIT_S)
            raise ShardAway("the answer was lost")
        return given


@contextmanager
def far_plane(
    store: Callable[[], RuntimeStore],
    executor: Any = None,
    *,
    shards: int = 1,
    troubles: Sequence[Exception] = (),
    limits: Any = DEFAULT_LIMITS,
    **settings: Any,
) -> Iterator[tuple[RayControlPlane, list[FarShard]]]:
    """A front door to shards in this process, started; a store for each of them."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    there: list[FarShard] = []

    def places(count: int | None) -> list[FarShard]:
        of = count or shards
        there[:] = [
            FarShard(
                Plan(
                    Shard(number=number, of=of),
                    store(),
                    executor,
                    {"limits": limits, **settings},
                    list(troubles),
                ),
                loop,
            )
            for number in range(of)
        ]
        return there

    plane = RayControlPlane.__new__(RayControlPlane)
    plane._stand_on(places, shards, limits, WAIT_S, connect=lambda: False)
    try:
        plane.start()
        yield plane, there
    finally:
        plane.stop(timeout=0)
        for shard in there:
            shard.crash()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
