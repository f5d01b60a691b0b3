"""Clerk: carries out one front door's calls at the door of the shard's own control plane.

Each call of a front door is the call of the same name here. The answer goes to its desk from
whichever thread brings it about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from actors.awaiting import Bell
from actors.control_plane import ControlPlane
from actors.directory import ROOM_WAIT_S
from actors.door import Door
from actors.feeds import Feed
from actors.ray.desk import Desk
from actors.ray.wire import (
    FEED_WINDOW,
    Answer,
    Call,
    FeedTold,
    InputEnded,
    Refusal,
    far,
    unpack,
)
from actors.subscriptions import Subscription
from meerkat.errors import InternalError, Overloaded
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.inputs import Input
from meerkat.outcomes import AcceptOutcome, CompletionHandle

ASKED: Final = frozenset({
    "active_input_ids", "destroy", "detach_executor", "executor_ready", "ingest",
    "input_state", "interrupt", "load_boundary_receipt", "pause", "prepare_bindings",
    "publish_event", "recover", "recycle", "redrive", "register", "reset", "resume", "retire",
    "runtime_state", "set_silent_intents", "stop_runtime", "unregister", "wake",
})  # fmt: skip
"""The calls that are a message to one runtime, and an answer."""

LOOKED: Final = frozenset({"dead_letters", "figures", "runs_in_hand", "supervision"})
"""Those that look at the whole plane, and wait for nothing."""


class Clerk:
    """The calls of one front door. Used on the event loop of the shard.

    ``loads`` makes an executor of what a front door has sent.
    """

    def __init__(self, plane: ControlPlane, desk: Desk, loads: Callable[[bytes], Any]) -> None:
        self.desk = desk
        self.plane = plane
        self._door: Door = plane._door.without_waits()  # noqa: SLF001 - what it is for
        self._loop = asyncio.get_running_loop()
        self._bell = Bell(self._loop)
        self._loads = loads
        self._pumps: dict[int, _Pump] = {}
        self._special: Mapping[str, Callable[..., None]] = {
            "attach_executor": self._attach_executor,
            "close_feed": self._close_feed,
            "completion": self._completion,
            "more": self._more,
            "submit": self._submit,
            "subscribe": self._subscribe,
            "watch": self._watch,
        }

    def do(self, call: Call, *, for_the_last_time: bool = False) -> None:
        """Carry out a call. It is answered, whatever happens."""
        try:
            arguments = unpack(call.arguments)
            if call.name in self._special:
                self._special[call.name](call.number, *arguments)
            elif call.name in ASKED:
                asked = getattr(self._door, call.name)(*arguments)
                asked.reply.add_done_callback(partial(self._answered, call.number))
            elif call.name in LOOKED:
                self._tell(Answer(call.number, getattr(self._door, call.name)()))
            else:
                self._refuse(call.number, InternalError(f"there is no call {call.name}"))
        except Overloaded as full:
            if full.limit != "live_runtimes_max" or for_the_last_time:
                self._refuse(call.number, full)
                return
            again = partial(self.do, call, for_the_last_time=True)
            self._loop.call_later(ROOM_WAIT_S, again)  # in which a thread would wait for room
        except Exception as error:  # noqa: BLE001 - it is told who has called
            self._refuse(call.number, error)

    def leave(self) -> None:
        """The front door has gone: what it reads is closed."""
        for pump in self._pumps.values():
            pump.feed.close()
        self._pumps.clear()

    # --- answers ------------------------------------------------------------------------

    def _tell(self, said: Any) -> None:
        self.desk.tell(said)

    def _refuse(self, number: int, error: BaseException) -> None:
        self._tell(Refusal(number, error, error.__cause__))

    def _answered(self, number: int, reply: Future[Any]) -> None:
        error = reply.exception()
        if error is None:
            self._tell(Answer(number, far(reply.result())))
        else:
            self._refuse(number, error)

    def _ended(self, number: int, handle: Future[Any]) -> None:
        error = handle.exception()
        self._tell(InputEnded(number, None if error else handle.result(), error))

    # --- calls that are more than an answer ---------------------------------------------

    def _submit(self, number: int, runtime_id: LogicalRuntimeId, offered: Input) -> None:
        sent = self._door.submit(runtime_id, offered)

        def accepted(reply: Future[AcceptOutcome]) -> None:
            self._answered(number, reply)
            if reply.exception() is None:
                sent.completion.add_done_callback(partial(self._ended, number))

        sent.accepted.add_done_callback(accepted)

    def _completion(
        self, number: int, runtime_id: LogicalRuntimeId, asked_for: InputId | AcceptOutcome
    ) -> None:
        def granted(reply: Future[CompletionHandle]) -> None:
            error = reply.exception()
            if error is not None:
                self._refuse(number, error)
                return
            self._tell(Answer(number, None))
            reply.result().add_done_callback(partial(self._ended, number))

        asked = self._door.completion(runtime_id, asked_for)
        asked.reply.add_done_callback(granted)

    def _attach_executor(self, number: int, runtime_id: LogicalRuntimeId, packed: bytes) -> None:
        try:
            executor = self._loads(packed)
        except Exception as error:
            said = f"the executor cannot be made in the shard's process: {error}"
            raise TypeError(said) from error
        asked = self._door.attach_executor(runtime_id, executor)
        asked.reply.add_done_callback(partial(self._answered, number))

    # --- feeds --------------------------------------------------------------------------

    def _subscribe(
        self, number: int, runtime_id: LogicalRuntimeId | None, after: int | None
    ) -> None:
        if runtime_id is None:
            self._open_feed(number, self._door.subscribe_to_all())
        else:
            asked = self._door.subscribe(runtime_id, after)
            asked.reply.add_done_callback(partial(self._granted, number))

    def _watch(self, number: int, runtime_id: LogicalRuntimeId | None) -> None:
        if runtime_id is None:
            self._open_feed(number, self._door.watch_all())
        else:
            asked = self._door.watch(runtime_id)
            asked.reply.add_done_callback(partial(self._granted, number))

    def _granted(self, number: int, reply: Future[Any]) -> None:
        error = reply.exception()
        if error is None:
            self._bell.call(partial(self._open_feed, number, reply.result()))
        else:
            self._refuse(number, error)

    def _open_feed(self, number: int, feed: Feed[Any]) -> None:
        self._tell(Answer(number, feed.position if isinstance(feed, Subscription) else None))
        pump = self._pumps[number] = _Pump(number, feed, self.desk)
        feed.listen(partial(self._bell.call, pump.pump))
        pump.pump()

    def _more(self, _number: int, feed: int, count: int) -> None:
        pump = self._pumps.get(feed)
        if pump is not None:
            pump.room += count
            pump.pump()

    def _close_feed(self, _number: int, feed: int) -> None:
        pump = self._pumps.pop(feed, None)
        if pump is not None:
            pump.feed.close()


class _Pump:
    """Fetches what a feed tells, while the reader has room for it. Used on the event loop."""

    def __init__(self, number: int, feed: Feed[Any], desk: Desk) -> None:
        self.feed = feed
        self.room = FEED_WINDOW
        self._number = number
        self._desk = desk
        self._over = False

    def pump(self) -> None:
        """Tell what is new."""
        closed = self.feed.closed  # first: what is ready then is all there is
        items: list[Any] = []
        while len(items) < self.room:
            item = self.feed.next_ready()
            if item is None:
                break
            items.append(item)
        over = closed and len(items) < self.room and not self._over
        self.room -= len(items)
        self._over = self._over or over
        if items or over:
            self._desk.tell(FeedTold(self._number, tuple(items), over))
