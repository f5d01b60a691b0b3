"""Shard: what Ray places: a process with a control plane over a part of the runtimes.

It opens its plane by itself, and goes on trying: a process that ended because its database was
away would not be started again. Front doors greet it, send calls, and ask for what is new; each
has a desk here. What a desk remembers ends with the process, or with the plane.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from attrs import field, frozen

from actors.awaiting import Bell
from actors.clock import Clock, SystemClock, new_token
from actors.control_plane import ControlPlane
from actors.executors import Executor
from actors.light import LightEvent
from actors.ray.clerk import Clerk
from actors.ray.desk import Desk
from actors.ray.looks import ShardLook
from actors.ray.wire import Call, Numbered, Over, Welcome, as_trouble
from actors.run_places import RunThreads
from actors.settings import SettingsByName
from actors.stopping import ShutdownReport
from meerkat.errors import ControlPlaneStopped, MeerkatError
from meerkat.shards import Shard
from meerkat.store import PostgresStore, RuntimeStore
from meerkat.store.sharing import Sharing

POLL_S: Final = 10.0
"""How long a question for news stays open: longer costs nothing, shorter is noticed sooner."""

GREETING_S: Final = 2.0
"""How long a greeting waits for a plane that is being opened."""

REOPEN_S: Final = (0.1, 2.0)
"""Pauses between two tries to open the plane: the first, and what they double up to."""

FORGOTTEN_S: Final = 300.0
"""After so long without a sign of it a front door is taken to have gone."""


def shard_name(name: str, number: int) -> str:
    """What Ray, and the store, call a shard."""
    return f"{name}-shard-{number}"


@frozen(kw_only=True)
class ShardPlan:
    """All that a shard has to know, as it is sent to whichever process is to be one."""

    url: str = field(repr=False)
    name: str
    shard: Shard
    executor: Executor | None
    settings: SettingsByName
    schema: str
    lease_s: float

    def store(self) -> RuntimeStore:
        """The store that all shards share, as this one takes part in it."""
        sharing = Sharing(
            name=shard_name(self.name, self.shard.number), lease_s=self.lease_s, shard=self.shard
        )
        return PostgresStore(self.url, schema=self.schema, sharing=sharing)

    def open(self) -> ControlPlane:
        """The plane, started."""
        return ControlPlane(self.store(), self.executor, **self.settings).start()


@frozen
class _Place:
    """One front door here."""

    desk: Desk
    clerk: Clerk
    news: asyncio.Event


class ShardProcess:
    """One shard. Its coroutines are called on one event loop, by front doors.

    ``plan`` gives the plan, in this process: what it raises is told as the shard's trouble.
    ``loads`` makes an executor of what a front door has sent, ``node`` says where this is.
    """

    def __init__(
        self,
        plan: Callable[[], ShardPlan],
        *,
        loads: Callable[[bytes], Any],
        node: str,
        clock: Clock | None = None,
    ) -> None:
        self._plan = plan
        self._loads = loads
        self._node = node
        self._clock = clock or SystemClock()
        self._threads = RunThreads()
        self._told = LightEvent()
        """Is there a plane, or a reason why there is none?"""
        self._leaving = LightEvent()
        self._shard: Shard | None = None
        self._plane: ControlPlane | None = None
        self._trouble: MeerkatError | None = None
        self._openings = 0
        self._places: dict[str, _Place] = {}
        self._threads.start(self._keep_open)

    # --- opening ------------------------------------------------------------------------

    def _keep_open(self) -> None:
        """Open the plane, and again should it end by itself, until the shard is to stop."""
        pause_s, longest_s = REOPEN_S
        while not self._leaving.is_set():
            try:
                plan = self._plan()
                self._shard = plan.shard
                plane = plan.open()
            except Exception as error:  # noqa: BLE001 - it is told, and tried again
                self._trouble = as_trouble(error)
                self._told.set()
                self._leaving.wait(pause_s)
                pause_s = min(2 * pause_s, longest_s)
                continue
            pause_s = REOPEN_S[0]
            self._openings += 1
            self._trouble, self._plane = None, plane
            self._told.set()
            if self._leaving.is_set():
                plane.stop(timeout=0)  # who asked it to stop found none
            plane._life.system.ended.wait()  # noqa: SLF001 - of a plane that is its own
            if not self._leaving.is_set():
                self._plane = None
                for place in tuple(self._places.values()):
                    place.desk.ring()  # who asks for news has to greet again

    async def _on_a_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._threads.outcome_of(work))

    # --- front doors --------------------------------------------------------------------

    async def hello(self, client: str, token: str | None, first: int) -> Welcome:
        """A front door comes, or comes again; ``first`` is the number of its next call."""
        if not self._told.is_set():
            await self._on_a_thread(lambda: self._told.wait(GREETING_S))
        plane, shard = self._plane, self._shard or Shard(number=0, of=1)
        if plane is None:
            return Welcome(token="", shard=shard, opened=False, trouble=self._trouble)
        place = self._places.get(client)
        if place is None or place.desk.token != token or place.clerk.plane is not plane:
            self._forget_the_gone()
            if place is not None:
                place.clerk.leave()
                place.desk.ring()
            place = self._places[client] = self._new_place(plane, first)
        place.desk.seen_at = self._clock.monotonic()
        return Welcome(token=place.desk.token, shard=shard, opened=True)

    def _new_place(self, plane: ControlPlane, first: int) -> _Place:
        news, bell = asyncio.Event(), Bell(asyncio.get_running_loop())
        desk = Desk(new_token(), first, lambda: bell.call(news.set))
        return _Place(desk, Clerk(plane, desk, self._loads), news)

    def _forget_the_gone(self) -> None:
        since = self._clock.monotonic() - FORGOTTEN_S
        for client, place in tuple(self._places.items()):
            if place.desk.seen_at < since:
                place.clerk.leave()
                del self._places[client]

    def _place(self, client: str, token: str) -> _Place | None:
        """The place of a front door; None where it has to greet first."""
        place = self._places.get(client)
        if place is None or place.desk.token != token:
            return None
        if place.clerk.plane is not self._plane and not self._leaving.is_set():
            return None
        place.desk.seen_at = self._clock.monotonic()
        return place

    async def take(self, client: str, token: str, calls: Sequence[Call]) -> bool:
        """Take calls; False, and none is taken, where the token is not known."""
        place = self._place(client, token)
        if place is None:
            return False
        for call in place.desk.new_ones(calls):
            place.clerk.do(call)
        return True

    async def poll(self, client: str, token: str, through: int) -> tuple[Numbered, ...] | None:
        """What is new behind ``through``, which has arrived; None for an unknown token.

        It waits for something, and gives an empty answer after a while.
        """
        place = self._place(client, token)
        if place is None:
            return None
        try:
            async with asyncio.timeout(POLL_S):
                while True:
                    place.news.clear()
                    told = place.desk.told(through)
                    if told or self._place(client, token) is not place:
                        return told or None
                    await place.news.wait()
        except TimeoutError:
            return ()

    # --- the end, and looking -----------------------------------------------------------

    async def stop(self, drain: bool, timeout: float) -> ShutdownReport:  # noqa: FBT001, ASYNC109
        """Stop the plane; every front door hears what is left to say, and then that it is over."""
        self._leaving.set()
        plane = self._plane
        report = ShutdownReport()
        if plane is not None:
            report = await self._on_a_thread(lambda: plane.stop(drain=drain, timeout=timeout))
        for place in self._places.values():
            place.desk.tell(Over())
        return report

    async def hurry(self) -> None:
        """Have a stop that is under way, or comes, wait for no run."""
        if self._plane is not None:
            self._plane._life.hurry()  # noqa: SLF001 - of a plane that is its own

    async def look(self) -> ShardLook:
        """Where it runs, and how."""
        plane, shard = self._plane, self._shard or Shard(number=0, of=1)
        figures = None
        if plane is not None:
            with suppress(ControlPlaneStopped):
                figures = plane.figures()
        return ShardLook(
            number=shard.number,
            of=shard.of,
            node=self._node,
            pid=os.getpid(),
            openings=self._openings,
            front_doors=len(self._places),
            figures=figures,
            trouble=None if self._trouble is None else str(self._trouble),
        )
