"""Supervised: what is said of one part that is kept running, and of those under it."""

from __future__ import annotations

from attrs import frozen

from meerkat.words import Word


class PartState(Word):
    """How a part stands."""

    RUNNING = "running"
    """It works, or would if there were something to do."""
    OFF = "off"
    """Nobody has asked for it: there is none yet, or none at all."""
    STARTING = "starting"
    WAITING = "waiting"
    """It has failed, and is started anew after a pause."""
    STUCK = "stuck"
    """Its run gives no sign."""
    SET_ASIDE = "set_aside"
    """It failed too often, or cannot be loaded: until somebody acts."""
    TAKEN_OVER = "taken_over"
    """Another writer has it."""
    STOPPING = "stopping"
    STOPPED = "stopped"


@frozen(kw_only=True)
class Supervised:
    """One part at one moment, with what stands under it in the order of its start.

    ``kind`` is what it is, ``restarts`` how often it was started anew, ``note`` what else
    there is to say.
    """

    name: str
    kind: str
    state: PartState
    restarts: int = 0
    note: str | None = None
    children: tuple[Supervised, ...] = ()
