"""What the model decides about an input: section 4 of semantics.md, written out once more.

A host's own policy is asked instead where there is one; then this table is not used, and what
no runtime could do is PolicyRefused, whose text says what is wrong with it.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve, field, frozen

from meerkat.inputs import Input
from meerkat.policy import PolicyDecision, refuse_impossible


@frozen
class Decided:
    """Where an input waits, what it does to those before it, and whether it wakes anybody."""

    lane: str | None
    """steer or queue; None for what its acceptance uses up."""
    sharing: str = field(kw_only=True)
    boundary: str = field(kw_only=True)
    wakes: bool = field(kw_only=True)
    """An idle runtime: one that runs comes to it by itself."""


_QUEUE_MODE: Final = Decided("queue", sharing="fifo", boundary="run_start", wakes=True)
_STEER_MODE: Final = Decided("steer", sharing="fifo", boundary="run_checkpoint", wakes=True)
_BY_KIND: Final = {
    "prompt": _QUEUE_MODE,
    "flow_step": _QUEUE_MODE,
    "external_event": _QUEUE_MODE,
    "peer_message": _QUEUE_MODE,
    "peer_request": _QUEUE_MODE,
    "peer_response_terminal": _QUEUE_MODE,
    "peer_response_progress": Decided(
        "steer", sharing="coalesce", boundary="run_checkpoint", wakes=False
    ),
    "continuation": _STEER_MODE,
    "operation": Decided(None, sharing="none", boundary="none", wakes=False),
}
_BY_MODE: Final = {"queue": _QUEUE_MODE, "steer": _STEER_MODE}


def decide(offered: Input, policy: Any, *, running: bool, silent: bool) -> Decided:
    """What becomes of an input; ``silent`` says that it is a request whose intent wakes nobody."""
    if policy is None:
        found = _by_table(offered)
    else:
        found = _as_said(refuse_impossible(policy.resolve(offered, running=running)))
    return evolve(found, wakes=False) if silent else found


def _by_table(offered: Input) -> Decided:
    kind, mode = str(offered.kind), offered.requested_mode
    found = _BY_KIND[kind]
    if mode is not None and kind not in ("peer_response_progress", "operation"):
        found = _BY_MODE[str(mode)]
    if offered.supersession_key is not None and found.lane == "queue":
        return evolve(found, sharing="supersede")
    return found


_BOUNDARIES: Final = {"stage_run_start": "run_start", "stage_run_boundary": "run_checkpoint"}
_LANES: Final = {"queue": "queue", "steer": "steer", "immediate": "steer"}


def _as_said(said: PolicyDecision) -> Decided:
    if str(said.apply_mode) == "ignore":
        return _BY_KIND["operation"]
    return Decided(
        _LANES[str(said.routing_disposition)],
        sharing=str(said.queue_mode),
        boundary=_BOUNDARIES[str(said.apply_mode)],
        wakes=str(said.wake_mode) != "none",
    )
