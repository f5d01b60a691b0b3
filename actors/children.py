"""Children: what a supervisor is told to keep under it, and what it says of each.

Values alone; what is done about an end stands in ``roster``, and who does it is ``tree``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pykka
from attrs import Attribute, Factory, field, frozen

from actors.restarts import Restart
from meerkat.checks import of_kind
from meerkat.words import Word

SHUTDOWN_S: Final = 5.0
"""Seconds that a child has to stop: OTP's, and enough for a handler that waits for nobody."""


class ChildState(Word):
    """Where a child is in its life."""

    STARTING = "starting"
    """Its actor is in ``on_start``; a Supervisor, until its own children are ready."""
    RUNNING = "running"
    WAITING = "waiting"
    """For its start, its first or the next one."""
    STOPPING = "stopping"
    STOPPED = "stopped"
    """It has ended, and is not started again of itself."""


def _actor_class(_instance: object, _attribute: Attribute[Any], value: object) -> None:
    if not (isinstance(value, type) and issubclass(value, pykka.Actor)):
        raise TypeError(f"actor_class is a class of Pykka actors, not {value!r}")


def _seconds(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{attribute.name} takes seconds or None, not {type(value).__name__}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} is 0 or above and finite, or None")


def _arguments(given: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(given)


def _keywords(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(given)


def _own_need(spec: ChildSpec) -> float | None:
    return getattr(spec.actor_class, "shutdown_s", SHUTDOWN_S)


@frozen
class ChildSpec:
    """How a child is made, and what its end means. Any class of Pykka actors may be one.

    It is made on the supervisor's thread, by calling the class with ``args`` and ``kwargs``;
    they are the same objects at every restart. Raises TypeError or ValueError for a field of
    the wrong type or range.
    """

    id: str = field(validator=of_kind(str))
    """What it is called under its supervisor."""
    actor_class: type[pykka.Actor] = field(validator=_actor_class)
    args: tuple[Any, ...] = field(default=(), converter=_arguments)
    kwargs: Mapping[str, Any] = field(factory=dict, converter=_keywords)
    restart: Restart = field(default=Restart.PERMANENT, kw_only=True, validator=of_kind(Restart))
    """After which ends it is started anew."""
    shutdown_s: float | None = field(
        default=Factory(_own_need, takes_self=True), kw_only=True, validator=_seconds
    )
    """Seconds it has to stop, then it is left behind; None to wait for ever.

    Unless given it is the attribute ``shutdown_s`` of the class, if there is one. A Supervisor
    and a RuntimeSupervisor have None: what they wait for has bounds of its own.
    """


@frozen(kw_only=True)
class ChildInfo:
    """A child at one moment."""

    id: str
    state: ChildState
    ref: pykka.ActorRef[Any] | None
    """The actor; None while there is none."""
    restarts: int
    """How often it was started anew."""
    last_reason: str | None
    """What it failed with last, as text; None when it never did."""
    left_behind: int
    """Actors that did not stop in time: a thread of Python's cannot be killed."""
