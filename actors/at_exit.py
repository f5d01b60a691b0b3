"""At exit: a net under a plane that nobody has stopped. It is not the plan.

When the interpreter ends, its daemon threads still run while its exit functions are called, so
a plane can be stopped in order then, its runs cut short. It holds on to what runs, and not to
the host's plane: one that was dropped is caught, too.
"""

from __future__ import annotations

import atexit
import logging
import os
from contextlib import suppress
from typing import Any, Final

import pykka

from actors import messages as m
from actors.ground import ground_here
from actors.linked import top_of
from actors.shutdown import ANSWERING_MIN_S, CLOSING_MIN_S
from actors.system import System

logger = logging.getLogger(__name__)

GRACES: Final = 10
"""Graces that a stop may take in all, as each of its parts may hang; then the process ends."""


class Net:
    """Stops one supervisor when the interpreter ends. Thread-safe."""

    def __init__(self, supervisor: pykka.ActorRef[Any], system: System) -> None:
        self._supervisor = supervisor
        self._system = system
        self._process = os.getpid()

    def spread(self) -> None:
        """Catch it from now on, if what it stands on lasts as long as the interpreter."""
        if ground_here() is None:
            atexit.register(self._catch)

    def take_away(self) -> None:
        """It has ended. Idempotent."""
        atexit.unregister(self._catch)

    def _catch(self) -> None:
        if os.getpid() != self._process:
            return  # a fork has carried the net over, and none of the threads
        stopping, grace_s = self._system.stopping, self._system.grace_s
        if not stopping.begun.is_set():
            logger.warning(
                "a control plane was not stopped, its runs are cut short now: "
                "call stop(), or use it in a with statement"
            )
        top = top_of(self._supervisor)
        if top is not self._supervisor:  # its tree would start it anew: that ends as a whole
            top.stop(block=False)
        else:
            with suppress(pykka.ActorDeadError):
                top.tell(m.ShutDown(drain=False, timeout_s=0))
        stopping.hurry()
        stopping.ended.wait(CLOSING_MIN_S + GRACES * max(grace_s, ANSWERING_MIN_S))
