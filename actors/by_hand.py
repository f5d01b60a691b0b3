"""By hand: one of ``VERBS`` for one runtime, through the front door like any host's call.

A database that nobody has in use is taken over for the one call: no run is started, and no other
runtime is loaded. One that a process owns is that process's to act on: it is refused with the
owner's name, and never is anything done behind its back.
"""

from __future__ import annotations

from typing import Any, cast

from actors.control_plane import ControlPlane
from actors.facts import Facts, value_facts
from actors.verbs import Verb
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore


def done_by(
    plane: ControlPlane,
    verb: Verb,
    runtime_id: LogicalRuntimeId,
    /,
    *,
    timeout: float | None = None,
    **inputs: Any,
) -> Facts:
    """Have a plane do it, and say what was done: the runtime, its state, and the report.

    Raises what the call raises.
    """
    report = verb.call(plane, str(runtime_id), timeout=timeout, **inputs)
    state = plane.runtime_state(runtime_id, timeout=timeout)
    said = {} if report is None else value_facts(report)
    return {"runtime_id": str(runtime_id), "state": str(state), **said}


def done_by_hand(
    store: RuntimeStore,
    verb: Verb,
    runtime_id: LogicalRuntimeId,
    /,
    *,
    timeout: float | None = None,
    **inputs: Any,
) -> Facts:
    """The same, with the database taken over for it; the store is closed behind it.

    StoreInUse names the process that owns it.
    """
    with ControlPlane(cast("RuntimeStore", _OneRuntime(store))) as plane:
        return done_by(plane, verb, runtime_id, timeout=timeout, **inputs)


class _OneRuntime:
    """A store whose other runtimes stay where they are: nothing is taken up at the start."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """None."""
        return []
