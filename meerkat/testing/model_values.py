"""The model's values: an input, a run, a receipt, and the rules for each of them alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from meerkat.inputs import Input, PeerInput

Answer = tuple[Any, ...]

ENDED: Final = frozenset({"consumed", "superseded", "coalesced", "abandoned"})
_BATCH_MAX: Final = 64


@define
class Known:
    """What the model knows of one input."""

    id: str
    kind: str
    ephemeral: bool
    key: str | None
    scope: tuple[str, str] | None
    """The kind and the supersession key under which a newer one takes its place."""
    lane: str | None
    sharing: str
    boundary: str
    metadata: Mapping[str, Any]
    number: int
    history: list[str] = field(factory=lambda: ["accepted"])
    attempts: int = 0
    recovered: int = 0
    run: bool = False
    end: str | None = None

    @property
    def phase(self) -> str:
        """How far it has come."""
        return self.history[-1]

    @property
    def active(self) -> bool:
        """Has it not ended?"""
        return self.phase not in ENDED


@define
class Run:
    """The run in hand."""

    inputs: list[Known]
    lane: str
    boundary: str
    returns_to: str
    receipts: int = 0
    handed: set[str] = field(factory=set)


@define
class Proof:
    """A receipt, without its run's name."""

    inputs: list[str]
    boundary: str
    sequence: int
    count: int
    digest: str | None


# --- rules of an input, of a batch, of a receipt ----------------------------------------


def put_back(each: Known) -> None:
    """Back to the head of its lane, where it came from."""
    each.history.append("queued")
    each.run = False


def abandon(each: Known, why: str) -> None:
    """Given up."""
    each.history.append("abandoned")
    each.end = f"abandoned {why}"


def inadmissible(offered: Input) -> Answer | None:
    """The table of section 2: why an input is rejected; None if it is not."""
    kind, source = str(offered.kind), type(offered.source).__name__.lower()
    if str(offered.durability) == "derived":
        free = ("peer_response_progress", "external_event", "continuation", "operation")
        if source in ("operator", "peer", "external") or kind not in free:
            return ("rejected", "DurabilityViolation")
    if not isinstance(offered, PeerInput):
        return None
    if kind == "peer_response_progress" and offered.handling_mode is not None:
        return ("rejected", "PeerHandlingModeInvalid")
    request_id = getattr(offered.convention, "request_id", None)
    if kind == "peer_response_terminal" and (source != "peer" or not request_id):
        return ("rejected", "PeerResponseTerminalInvalid")
    return None


def batch(lane: str, waiting: list[Known]) -> list[Known]:
    """Section 8: the inputs at the head of a lane that are run together."""
    batch: list[Known] = []
    merged: dict[str, Any] = {}
    for each in waiting[:_BATCH_MAX]:
        if batch and not _joins(lane, batch[0], each):
            break
        if any(
            _contradict(merged[name], value)
            for name, value in each.metadata.items()
            if name in merged
        ):
            break
        merged |= each.metadata
        batch.append(each)
        if lane == "queue" and each.kind == "prompt":
            break
    return batch


def _contradict(one: Any, other: Any) -> bool:
    both_lists = isinstance(one, list | tuple) and isinstance(other, list | tuple)
    return not both_lists and json.dumps(one) != json.dumps(other)


def _joins(lane: str, first: Known, each: Known) -> bool:
    for kind in ("peer_response_terminal", "continuation"):
        if (first.kind == kind) != (each.kind == kind):
            return False
    return each.kind != "prompt" if lane == "queue" else first.boundary == each.boundary


def digest_of(messages: Sequence[Any]) -> str:
    """SHA-256 of the canonical JSON of a message list."""
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
