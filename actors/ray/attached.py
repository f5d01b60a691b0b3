"""Attached: the executors that a front door has given to runtimes, to be given again.

A shard that is started anew has its own executor alone. What can be sent to it once can be sent
again: so its line sends these, before all else that comes from here. They are remembered from
when the shard has answered, for as long as the front door is there.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from functools import partial
from typing import Any

from actors.logs import said_of
from actors.ray.errand import Errand
from actors.ray.wire import pack
from actors.replies import Reply
from meerkat.identifiers import LogicalRuntimeId
from meerkat.shards import shard_of

logger = logging.getLogger(__name__)


class Attached:
    """Whom the runtimes of one front door are worked by, where it has said so. Thread-safe."""

    def __init__(self) -> None:
        self._packed: dict[LogicalRuntimeId, bytes | None] = {}

    def attaching(self, runtime_id: LogicalRuntimeId, packed: bytes) -> Errand:
        """The call that gives a runtime an executor."""
        return self._errand(runtime_id, packed)

    def detaching(self, runtime_id: LogicalRuntimeId) -> Errand:
        """The call that has it worked by none."""
        return self._errand(runtime_id, None)

    def leaving(self, name: str, runtime_id: LogicalRuntimeId) -> Errand:
        """A call that ends a runtime, or its being known: what was given it ends, too."""
        forget = partial(self._packed.pop, runtime_id, None)
        return Errand(name, runtime_id, pack((runtime_id,)), Reply(), done=forget)

    def _errand(self, runtime_id: LogicalRuntimeId, packed: bytes | None) -> Errand:
        note = partial(self._packed.__setitem__, runtime_id, packed)
        name, arguments = _call(packed), _arguments(runtime_id, packed)
        return Errand(name, runtime_id, arguments, Reply(), done=note)

    def again(self, number: int, of: int) -> list[Errand]:
        """The calls that give all of it again to a shard that was started anew."""
        known = self._packed.copy()
        return [self._renewing(each, known[each]) for each in known if shard_of(each, of) == number]

    def _renewing(self, runtime_id: LogicalRuntimeId, packed: bytes | None) -> Errand:
        reply: Reply[Any] = Reply()
        reply.add_done_callback(partial(_tell_refused, runtime_id))
        name, arguments = _call(packed), _arguments(runtime_id, packed)
        holds = partial(self._holds, runtime_id, packed)
        return Errand(name, runtime_id, arguments, reply, renews=holds)

    def _holds(self, runtime_id: LogicalRuntimeId, packed: bytes | None) -> bool:
        return runtime_id in self._packed and self._packed[runtime_id] is packed

    def clear(self) -> None:
        """Forget it all: the shards are others."""
        self._packed.clear()


def _call(packed: bytes | None) -> str:
    return "detach_executor" if packed is None else "attach_executor"


def _arguments(runtime_id: LogicalRuntimeId, packed: bytes | None) -> bytes:
    return pack((runtime_id,) if packed is None else (runtime_id, packed))


def _tell_refused(runtime_id: LogicalRuntimeId, reply: Future[Any]) -> None:
    error = reply.exception()
    if error is not None:
        said = "runtime %s: its executor could not be given to its shard again: %s"
        logger.warning(said, runtime_id, said_of(error))
