"""Looks: what is known of a shard and of the wire to it, at one moment."""

from __future__ import annotations

from attrs import frozen

from actors.figures import Figures


@frozen(kw_only=True)
class ShardLook:
    """One shard at one moment: where it runs, and how."""

    number: int
    of: int
    node: str | None = None
    """The node of the cluster that it was placed on, by Ray's id of it."""
    pid: int | None = None
    openings: int = 0
    """How often it has opened its control plane in this process."""
    front_doors: int = 0
    """Those that it has heard of in the last minutes."""
    figures: Figures | None = None
    """None while it is not open."""
    trouble: str | None = None
    """Why it is not, or why nothing is known of it just now."""


@frozen(kw_only=True)
class WireFigures:
    """What one front door has sent and heard since its start, over all shards."""

    calls: int
    """Calls that were sent, those that were sent again included."""
    batches: int
    """Remote calls that carried them."""
    polls: int
    """Remote calls that asked for news, and had an answer."""
    said: int
    """Answers, ended inputs and batches of events that came with them."""
    again: int
    """Calls that were sent again to a shard that had been started anew."""
    unknown: int
    """Calls that ended as CommitUnknown, because they are not to be made twice."""
    restarts: int
    """How often a shard had been started anew."""
