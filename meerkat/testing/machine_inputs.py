"""Inputs of the state machine: few, and each of them built in a moment.

What differs between runtimes is where an input waits, what it replaces and whom it wakes; a
handful of each suffices, and thousands of steps a second leave no time to draw a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Final

from attrs import field, frozen

from meerkat.identifiers import OperationId
from meerkat.inputs import (
    ContinuationInput,
    ExternalEventInput,
    FlowStepInput,
    Input,
    OperationInput,
    PeerInput,
    PromptInput,
)
from meerkat.origins import (
    External,
    Flow,
    Peer,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
)

_PEER: Final = Peer(peer_id="peer-1")
_FROM_PEER: Final = {"source": _PEER}
_BUILDERS: Final[Mapping[str, tuple[type[Input], tuple[Any, ...], Mapping[str, Any]]]] = {
    "prompt": (PromptInput, ("hello",), {}),
    "prompt to steer": (PromptInput, ("left",), {"turn_metadata": {"handling_mode": "steer"}}),
    "step": (
        FlowStepInput,
        ("step",),
        {"step_id": "s", "source": Flow(flow_id="f", step_index=0)},
    ),
    "step of a model": (
        FlowStepInput,
        ("step",),
        {
            "step_id": "s",
            "source": Flow(flow_id="f", step_index=1),
            "turn_metadata": {"model": "a"},
        },
    ),
    "step of another": (
        FlowStepInput,
        ("step",),
        {
            "step_id": "s",
            "source": Flow(flow_id="f", step_index=2),
            "turn_metadata": {"model": "b"},
        },
    ),
    "message": (PeerInput, ("a word",), _FROM_PEER),
    "message to steer": (PeerInput, ("a word",), {**_FROM_PEER, "handling_mode": "steer"}),
    "request": (
        PeerInput,
        ("do it",),
        {**_FROM_PEER, "convention": PeerRequest(request_id="r", intent="ask")},
    ),
    "silent request": (
        PeerInput,
        ("do it",),
        {**_FROM_PEER, "convention": PeerRequest(request_id="r", intent="hush")},
    ),
    "progress": (
        PeerInput,
        ("half",),
        {**_FROM_PEER, "convention": PeerResponseProgress(request_id="r", phase="in_progress")},
    ),
    "progress to steer": (
        PeerInput,
        ("half",),
        {
            **_FROM_PEER,
            "handling_mode": "steer",
            "convention": PeerResponseProgress(request_id="r", phase="in_progress"),
        },
    ),
    "answer": (
        PeerInput,
        ("done",),
        {**_FROM_PEER, "convention": PeerResponseTerminal(request_id="r", status="completed")},
    ),
    "answer to nothing": (
        PeerInput,
        ("done",),
        {**_FROM_PEER, "convention": PeerResponseTerminal(request_id="", status="completed")},
    ),
    "event": (ExternalEventInput, ("mail", {"n": 1}), {"source": External(source_name="m")}),
    "continuation": (ContinuationInput, ("go on",), {}),
    "operation": (OperationInput, (OperationId.new(), {"status": "completed"}), {}),
}
_HEADERS: Final[tuple[Mapping[str, Any], ...]] = (
    *({},) * 6,
    *({"supersession_key": "s"},) * 3,
    {"supersession_key": "t"},
    {"durability": "ephemeral"},
    {"durability": "derived"},
    *({"idempotency_key": f"k{number}"} for number in range(1, 7)),
    {"durability": "ephemeral", "idempotency_key": "k7"},
    {"supersession_key": "s", "idempotency_key": "k8"},
)
"""Most have none: a key that is taken is taken for ever."""


@frozen
class Offer:
    """What is to be offered: which sort of input, under which header."""

    sort: str
    header: Mapping[str, Any] = field(factory=dict)

    def make(self) -> Input:
        """A fresh input of it."""
        kind, arguments, named = _BUILDERS[self.sort]
        return kind(*arguments, **{**named, **self.header})


OFFERS: Final = tuple(Offer(sort, header) for header, sort in product(_HEADERS, _BUILDERS))
"""Each sort under each header: every kind, lane, key, scope and durability."""
STEERED: Final = tuple(
    Offer(sort, header)
    for header in (*({},) * 3, {"supersession_key": "s"}, {"durability": "ephemeral"})
    for sort in ("prompt to steer", "message to steer", "progress", "continuation")
)
"""What goes to the steer lane."""
