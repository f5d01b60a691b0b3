"""The story that is told to a plane while a fault is planted in it, and what must hold after.

A host as it should be: it offers again what was refused, under the same key, and asks again
what could not be answered. Two runtimes work side by side; one of them has an executor that
fails once, and both have an input steered into a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from fault_points import FaultPoints
from plane_builders import WAIT_S

from actors import ControlPlane
from meerkat import LogicalRuntimeId, PromptInput, RunContext, RunOutput, StagedInput
from meerkat.errors import ApplyFailed, MeerkatError
from meerkat.limits import Backoff
from meerkat.outcomes import AcceptOutcome, CompletionKind
from meerkat.store import RuntimeStore

T = TypeVar("T")

RUNTIMES = ("hit", "by")
INPUTS = 3
TRIES = 50
"""How often a host asks again before the story has failed."""


class Planted(Exception):
    """A fault of a kind that may be caught."""


KINDS: tuple[Callable[[str], BaseException], ...] = (
    Planted,
    SystemExit,
    KeyboardInterrupt,
    MemoryError,
)
MARK = "planted"
CONSUMED = {CompletionKind.COMPLETED, CompletionKind.COMPLETED_WITHOUT_RESULT}


def told(store: RuntimeStore, points: FaultPoints, *, whole_life: bool = False) -> None:
    """Tell the story; AssertionError when something does not hold, or does not end.

    With ``whole_life`` faults may come from the start to the end of the plane, else between.
    """
    points.armed = whole_life
    plane = ControlPlane(store, _Agent(), backoff=Backoff(base_s=0.0), grace_s=0.02)
    _again(plane.start)
    _again(lambda: plane.register_many(RUNTIMES, timeout=WAIT_S))
    points.armed = True
    offered = {name: _offer(plane, name) for name in _names()}
    for name, outcome in offered.items():
        assert _end_of(plane, name, outcome) in CONSUMED, name
    for call in (plane.recycle, plane.recover, plane.runtime_state):
        _again(lambda call=call: call("hit", timeout=WAIT_S))  # type: ignore[misc]
    points.armed = whole_life
    last = _offer(plane, "hit-last")
    assert _end_of(plane, "hit-last", last) in CONSUMED
    _again(lambda: plane.stop(timeout=WAIT_S))
    points.armed = False
    _check(store)


def _names() -> list[str]:
    return [f"{runtime}-{number}" for number in range(INPUTS) for runtime in RUNTIMES]


def _check(store: RuntimeStore) -> None:
    """What a plane that comes after finds: nothing left to do, and nothing done twice."""
    with ControlPlane(store, _Agent(), grace_s=WAIT_S) as after:
        for runtime in RUNTIMES:
            assert after.active_input_ids(runtime, timeout=WAIT_S) == []
    for runtime in RUNTIMES:
        snapshot = store.load_session_snapshot(LogicalRuntimeId(runtime))
        assert snapshot is not None
        said = [message["content"] for message in json.loads(snapshot.messages)]
        wanted = [name for name in (*_names(), "hit-last") if name.startswith(runtime)]
        assert sorted(said) == sorted(wanted), runtime


class _Agent:
    """Says what it is told, fails once, and takes in what is steered."""

    def __init__(self) -> None:
        self._has_failed = False

    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        if primitive.text == "hit-1" and not self._has_failed:
            self._has_failed = True
            raise ApplyFailed("once")
        boundary = context.boundary()
        if boundary:
            boundary.commit(append=[_message(text) for text in boundary.texts])
        texts = primitive.text.split("\n\n")
        return RunOutput(append=[_message(text) for text in texts], result="done")


def _message(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _offer(plane: ControlPlane, name: str) -> AcceptOutcome:
    meta = {"handling_mode": "steer"} if name.endswith(str(INPUTS - 1)) else None
    runtime, _ = name.split("-")

    def offer() -> AcceptOutcome:
        prompt = PromptInput(name, idempotency_key=name, turn_metadata=meta)
        return plane.submit(runtime, prompt).accepted.result(WAIT_S)

    return _again(offer)


def _end_of(plane: ControlPlane, name: str, outcome: AcceptOutcome) -> CompletionKind:
    runtime, _ = name.split("-")
    handle = _again(lambda: plane.completion(runtime, outcome, timeout=WAIT_S))
    return handle.result(WAIT_S).kind


def _again(call: Callable[[], T]) -> T:
    """What a call gives in the end; it may be refused, and the fault may come out of it."""
    for _ in range(TRIES):
        try:
            return call()
        except TimeoutError as error:
            raise AssertionError(f"no answer: {error}") from error
        except MeerkatError:
            continue
        except BaseException as error:
            if error.args != (MARK,):
                raise
    raise AssertionError("refused again and again")
