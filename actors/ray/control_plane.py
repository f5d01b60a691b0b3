"""Ray control plane: the typed front door to runtimes that live in shards on a Ray cluster.

Its calls are those of ``ControlPlane``, inherited: only the way of a call to its runtime is
another one, and what a process of its own cannot give is refused, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar, Unpack, cast

from actors.clock import SystemClock, new_token
from actors.control_plane import ControlPlane
from actors.door import RuntimeName
from actors.executors import Executor, checked_executor
from actors.feeds import close_granted
from actors.ray import cluster
from actors.ray.cluster import Placing, RayShard, checked_options, dumps
from actors.ray.door import LOOK_S, RayDoor
from actors.ray.far_feeds import FarFeed
from actors.ray.life import Places, RayLife
from actors.ray.looks import ShardLook, WireFigures
from actors.ray.shard import ShardPlan, shard_name
from actors.replies import wait_for
from actors.settings import Settings, SettingsByName
from actors.subscriptions import Subscription
from actors.watching import RuntimeWatch
from meerkat.errors import CallTimedOut
from meerkat.identifiers import as_runtime_id
from meerkat.limits import DEFAULT_LIMITS, Limits
from meerkat.shards import Shard
from meerkat.store.sharing import LEASE_S

T = TypeVar("T")

START_WITHIN_S: Final = 120.0
"""Seconds that a start may take: nodes may have to come up for the shards first."""

SILENT_MAX_S: Final = 120.0
"""Seconds that a shard may give no answer: longer than the longest pause of a healthy one."""

LOOP_IS_HERE: Final = "loop cannot be sent to a shard: coroutines run on one of the shard's own"


class RayControlPlane(ControlPlane):
    """Durable sessions in one schema of PostgreSQL, in ``shards`` processes on a Ray cluster.

    Each shard is an actor of Ray's, named ``{name}-shard-{number}``, with a ``ControlPlane``
    over its part of the runtimes; Ray places it, and starts it again when its process or its
    node has gone. Calls, errors and returned values are those of ``ControlPlane``, and so are
    the settings, which with ``executor`` have to be such that they can be sent. A ``loop`` is
    refused: coroutines run on one of each shard's own. ``lease_s`` is how long the runtimes of
    a shard that gives no sign stay its own. ``ray_options`` are Ray's, for every shard:
    ``num_cpus``, ``resources``, ``runtime_env``. The shards end with this process, unless they
    are ``detached``: then :meth:`stop` alone ends them, and another process takes the front
    door of them by :meth:`wrap`.

    A shard that has its process and gives no answer for ``silent_max_s`` is ended and started
    anew, by the front door that has placed it; None for never.

    While a shard is started anew, its calls wait, bounded by their ``timeout``. What is safe to
    be made twice is sent again; any other call that was under way raises CommitUnknown. Handles
    end with the true outcome, subscriptions go on behind the last event, with an EventGap where
    events are gone. ``submit`` tells Overloaded of the shard in both futures.
    """

    def __init__(
        self,
        url: str,
        executor: Executor | None = None,
        *,
        shards: int = 2,
        name: str = "meerkat",
        schema: str = "meerkat",
        lease_s: float = LEASE_S,
        ray_options: Mapping[str, Any] | None = None,
        detached: bool = False,
        start_within_s: float = START_WITHIN_S,
        silent_max_s: float | None = SILENT_MAX_S,
        **settings: Unpack[SettingsByName],
    ) -> None:
        checked = Settings(**settings)
        if checked.loop is not None:
            raise ValueError(LOOP_IS_HERE)
        options = checked_options(ray_options or {})
        plan = partial(
            ShardPlan,
            url=url,
            name=name,
            schema=schema,
            executor=None if executor is None else checked_executor(executor),
            settings=settings,
            lease_s=lease_s,
        )
        if silent_max_s is not None and not silent_max_s > 0:
            raise ValueError("silent_max_s is above 0, or None")
        placing = partial(Placing, options=options, detached=detached, silent_max_s=silent_max_s)
        client = _client()

        def places(count: int | None) -> Sequence[RayShard]:
            return [
                RayShard(
                    shard_name(name, number),
                    client,
                    placing(plan=dumps(plan(shard=Shard(number=number, of=count or shards)))),
                )
                for number in range(count or shards)
            ]

        dumps(plan(shard=Shard(number=0, of=_at_least_one(shards))))  # refused here and now
        self._stand_on(places, shards, checked.limits, start_within_s)

    @classmethod
    def wrap(cls, supervisor: Any) -> Self:
        """The front door to shards that another one has placed: give their ``name``.

        ControlPlaneStopped when there are none. They are stopped by whichever front door is;
        a regrouping by another one is not followed: wrap them again.
        """
        if not isinstance(supervisor, str):
            kind = type(supervisor).__name__
            raise TypeError(f"shards are wrapped by their name, a text, not a {kind}")
        name, client = supervisor, _client()

        def places(_count: int | None) -> Sequence[RayShard]:
            first = RayShard(shard_name(name, 0), client, None)
            of = cluster.look_at(first).of
            return [RayShard(shard_name(name, number), client, None) for number in range(of)]

        plane = cls.__new__(cls)
        plane._stand_on(places, None, DEFAULT_LIMITS, START_WITHIN_S)  # noqa: SLF001 - its own
        return plane.start()

    def _stand_on(
        self,
        places: Places,
        shards: int | None,
        limits: Limits,
        start_within_s: float,
        *,
        connect: Callable[[], bool] = cluster.connect,
    ) -> None:
        clock = SystemClock()
        self._shards = RayLife(
            places,
            shards=shards,
            clock=clock,
            in_flight_max=limits.in_flight_max,
            start_within_s=start_within_s,
            connect=connect,
            disconnect=cluster.disconnect,
        )
        door = RayDoor(
            self._shards,
            self._shards.board,
            clock=clock,
            limits=limits,
            dumps=dumps,
            attached=self._shards.attached,
        )
        self._far = door
        self._open(self._shards, door)

    # --- the shards ---------------------------------------------------------------------

    def reshard(self, *, shards: int, timeout: float | None = None) -> None:
        """Divide the runtimes among so many shards from now on.

        The shards stop and others take their place; calls meanwhile wait, handles and
        subscriptions go on. CallTimedOut bounds the caller, and the work goes on;
        NotInThisProcess for shards that another front door has placed.
        """
        self._shards.reshard(_at_least_one(shards), timeout)

    def shards(self) -> tuple[ShardLook, ...]:
        """Where each shard runs, and how; of one that does not answer, why."""
        return self._shards.look(LOOK_S)

    def wire_figures(self) -> WireFigures:
        """What this front door has sent and heard since it was made. Waits for nothing."""
        return self._shards.board.figures()

    # --- what one process gives at once, and many do not ---------------------------------

    def subscribe(
        self,
        runtime_id: RuntimeName | None = None,
        after: int | None = None,
        *,
        timeout: float | None = None,
    ) -> Subscription:
        """Events as an iterator with ``close()``; it can do all that a Subscription can.

        Of one runtime: those above ``after``, or from now on; of all: from now on.
        """
        if runtime_id is not None:
            return super().subscribe(as_runtime_id(runtime_id), after, timeout=timeout)
        return cast("Subscription", self._of_all("subscribe", timeout))

    def watch(
        self, runtime_id: RuntimeName | None = None, *, timeout: float | None = None
    ) -> RuntimeWatch:
        """What becomes of a runtime's driver, as an iterator with ``close()``; or of all."""
        if runtime_id is not None:
            return super().watch(as_runtime_id(runtime_id), timeout=timeout)
        return cast("RuntimeWatch", self._of_all("watch", timeout))

    def _of_all(self, call: str, timeout_s: float | None) -> FarFeed[Any]:
        """A feed of all shards, once each of them tells it."""
        patience_s = LOOK_S if timeout_s is None else timeout_s
        feed, replies = self._far.feed_of_all(call, patience_s)
        try:
            for reply in replies:
                wait_for(reply, call, patience_s)
        except BaseException as error:
            feed.close()
            if isinstance(error, CallTimedOut):
                for reply in replies:
                    reply.add_done_callback(close_granted)
            raise
        return feed


def _client() -> str:
    """What the shards know a front door by."""
    return f"{os.getpid()}-{new_token()}"


def _at_least_one(shards: int) -> int:
    if not isinstance(shards, int):
        raise TypeError(f"shards is a number, not {type(shards).__name__}")
    if shards < 1:
        raise ValueError("shards is at least 1")
    return shards
