"""Strategies for commands: what a host asks of a control plane, one call after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen
from hypothesis import strategies as st

from meerkat.identifiers import LogicalRuntimeId
from meerkat.inputs import Input
from meerkat.testing.strategies_inputs import inputs
from meerkat.testing.strategies_json import Strategy, json_text
from meerkat.testing.strategies_records import envelopes

BARE_CALLS: Final = (
    "register",
    "unregister",
    "retire",
    "recycle",
    "reset",
    "recover",
    "destroy",
    "stop_runtime",
    "wake",
    "pause",
    "resume",
    "detach_executor",
    "executor_ready",
    "runtime_state",
    "active_input_ids",
)
"""The calls of a control plane that ask one thing of a runtime, by its name alone."""


@frozen
class Command:
    """One call of a control plane: its name, and what it takes besides the runtime's."""

    call: str
    runtime_id: LogicalRuntimeId
    arguments: Mapping[str, Any] = field(factory=dict, repr=False)

    def on(self, plane: Any) -> Any:
        """Make the call; gives and raises what it does. In the thread of who calls."""
        named = {} if self.call == "publish_event" else {"runtime_id": self.runtime_id}
        return getattr(plane, self.call)(**named, **self.arguments)


def commands(
    runtime_id: LogicalRuntimeId | str = "agent-1",
    *,
    offered: Strategy[Input] | None = None,
    calls: tuple[str, ...] = BARE_CALLS,
) -> Strategy[list[Command]]:
    """Sequences of calls of one runtime: about half of them offer an input.

    ``offered`` has the inputs, ``calls`` the control calls that are to come; whether a call
    is refused is for whoever makes it to see.
    """
    name = LogicalRuntimeId(str(runtime_id))
    ingest = (inputs() if offered is None else offered).map(
        lambda each: Command("ingest", name, {"input": each})
    )
    intents = st.frozensets(json_text(), max_size=2).map(
        lambda each: Command("set_silent_intents", name, {"intents": each})
    )
    published = envelopes(st.just(name)).map(
        lambda each: Command("publish_event", name, {"envelope": each})
    )
    control = st.sampled_from(calls).map(lambda call: Command(call, name)) if calls else ingest
    return st.lists(st.one_of(ingest, ingest, ingest, control, control, intents, published))
