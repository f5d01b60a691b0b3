"""One runtime as a caller sees it, one call after the other: written from the specification.

It knows nothing of the kernel: a state is a few words, a call a row of a table. The beginning
and the end of a run are what a runtime does of its own accord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from attrs import evolve, frozen

LOOKS: Final = frozenset({"input_state", "ended", "runtime_state", "active_input_ids"})
TERMINAL: Final = frozenset({"consumed", "superseded", "abandoned"})
OFFERED_MAX: Final = 1_000
"""More inputs than a test offers to one runtime."""

AT_REST: Final = frozenset({"idle", "attached", "retired"})
"""States in which a run may begin."""


@frozen(eq=False)
class Offered:
    """An input that callers offer, again and again."""

    number: int
    key: str | None = None
    supersedes: str | None = None
    is_operation: bool = False
    fails: bool = False
    """Does every run of it fail?"""

    def __repr__(self) -> str:
        return f"#{self.number}"


class Known(NamedTuple):
    """An input in the ledger of a runtime."""

    offered: Offered
    phase: str


@frozen(cache_hash=True)
class Runtime:
    """What a runtime is in; ``returns_to`` says so of the time behind the run in hand."""

    state: str = "attached"
    returns_to: str | None = None
    let_go: bool = False
    """Was its executor detached since the run was staged? One that was not called yet is not."""
    has_executor: bool = True
    inputs: tuple[Known, ...] = ()

    @property
    def active(self) -> tuple[Offered, ...]:
        return tuple(each.offered for each in self.inputs if each.phase not in TERMINAL)


@frozen
class Asked:
    """A call: its name, and the input that it is about."""

    name: str
    offered: Offered | None = None

    def __str__(self) -> str:
        return self.name if self.offered is None else f"{self.name} {self.offered}"


Answer: TypeAlias = tuple[Any, ...]
Step: TypeAlias = tuple[Answer, Runtime]


def invalid(state: str) -> Answer:
    return ("InvalidState", state)


class RuntimeModel:
    """The table below, as the checker asks for it."""

    def apply(self, state: Runtime, operation: Asked) -> Step:
        if operation.offered is not None:
            return ABOUT_INPUTS[operation.name](state, operation.offered)
        return CALLS[operation.name](state)

    def by_itself(self, state: Runtime) -> Iterable[Runtime]:
        if state.state == "running":
            yield from _run_ends(state)
        elif state.has_executor and state.state in AT_REST:
            yield from _run_begins(state)

    def only_looks(self, operation: Asked, answer: Answer) -> bool:
        return operation.name in LOOKS or answer[:1] in {("InvalidState",), ("deduplicated",)}


NO_RUN: Final = {"returns_to": None, "let_go": False}


# --- runs -------------------------------------------------------------------------------


def _run_begins(now: Runtime) -> Iterable[Runtime]:
    """A prompt runs alone, the one that waits longest."""
    for each in now.inputs:
        if each.phase == "queued":
            inputs = _with(now.inputs, {each.offered: "staged"})
            yield evolve(now, state="running", returns_to=now.state, inputs=inputs)
            return


def _run_ends(now: Runtime) -> Iterable[Runtime]:
    (offered,) = (each.offered for each in now.inputs if each.phase == "staged")
    phases = {"queued", "abandoned"} if offered.fails else {"consumed"}
    for phase in phases | ({"queued"} if now.let_go else set()):
        inputs = _with(now.inputs, {offered: phase})
        yield evolve(now, state=now.returns_to, inputs=inputs, **NO_RUN)


# --- inputs -----------------------------------------------------------------------------


def _offer(now: Runtime, offered: Offered) -> Step:
    retiring = now.returns_to == "retired"
    if retiring or now.state not in {"idle", "attached", "running"}:
        return invalid("retired" if retiring else now.state), now
    for known, phase in now.inputs:
        if known is offered or (known.key is not None and known.key == offered.key):
            return ("deduplicated", known.number, phase), now
    gone = {
        known: "superseded"
        for known, phase in now.inputs
        if phase == "queued" and known.supersedes is not None
        if known.supersedes == offered.supersedes
    }
    phase = "consumed" if offered.is_operation else "queued"
    inputs = _with((*now.inputs, Known(offered, phase)), {**gone, offered: phase})
    return ("accepted", phase), evolve(now, inputs=inputs)


def _look(now: Runtime, offered: Offered) -> Step:
    found = [each.phase for each in now.inputs if each.offered is offered]
    return (found[0] if found else None,), now


# --- control ----------------------------------------------------------------------------


def _attach(now: Runtime) -> Step:
    if now.state == "destroyed":
        return invalid("destroyed"), now
    return (), _moved(now, "idle", "attached", has_executor=True)


def _detach(now: Runtime) -> Step:
    if now.state == "destroyed":
        return invalid("destroyed"), now
    return (), _moved(now, "attached", "idle", has_executor=False)


def _moved(now: Runtime, before: str, after: str, *, has_executor: bool) -> Runtime:
    return evolve(
        now,
        has_executor=has_executor,
        let_go=now.let_go or (now.state == "running" and not has_executor),
        state=after if now.state == before else now.state,
        returns_to=after if now.returns_to == before else now.returns_to,
    )


def _retire(now: Runtime) -> Step:
    if now.state == "destroyed":
        return invalid("destroyed"), now
    if "retired" in {now.state, now.returns_to}:
        return (0, 0), now
    waiting = {each.offered: "abandoned" for each in now.inputs if each.phase == "queued"}
    given_up = {} if now.has_executor else waiting
    pending = len(now.active) - len(given_up)
    after = {"returns_to": "retired"} if now.state == "running" else {"state": "retired"}
    inputs = _with(now.inputs, given_up)
    return (len(given_up), pending), evolve(now, inputs=inputs, **after)


def _recycle(now: Runtime) -> Step:
    if now.state not in AT_REST:
        return invalid(now.state), now
    state = "idle" if now.state == "retired" else now.state
    return (len(now.active),), evolve(now, state=state)


def _recover(now: Runtime) -> Step:
    if now.state in {"running", "destroyed"}:
        return invalid(now.state), now
    return (len(now.active), 0, 0), now


def _giving_everything_up(state: str, *, not_in: Iterable[str]) -> Callable[[Runtime], Step]:
    refused = frozenset(not_in)

    def step(now: Runtime) -> Step:
        if now.state in refused:
            return invalid(now.state), now
        inputs = _with(now.inputs, dict.fromkeys(now.active, "abandoned"))
        after = evolve(now, state=state, inputs=inputs, **NO_RUN)
        return (len(now.active),), after

    return step


def _with(inputs: tuple[Known, ...], phases: Mapping[Offered, str]) -> tuple[Known, ...]:
    """In these phases. What is over has no place in the order any more: it stands in front."""
    if not phases:
        return inputs
    known = [Known(each.offered, phases.get(each.offered, each.phase)) for each in inputs]
    return tuple(sorted(known, key=_place))


def _place(known: Known) -> int:
    """Of what is over by number, of what waits as it stands; for a stable sort."""
    return known.offered.number if known.phase in TERMINAL else OFFERED_MAX


ABOUT_INPUTS: Final[Mapping[str, Callable[[Runtime, Offered], Step]]] = {
    "ingest": _offer,
    "submit": _offer,
    "input_state": _look,
    "ended": _look,
}
CALLS: Final[Mapping[str, Callable[[Runtime], Step]]] = {
    "runtime_state": lambda now: ((now.state,), now),
    "active_input_ids": lambda now: (tuple(each.number for each in now.active), now),
    "attach_executor": _attach,
    "detach_executor": _detach,
    "retire": _retire,
    "recycle": _recycle,
    "recover": _recover,
    "reset": _giving_everything_up("idle", not_in=("running", "destroyed")),
    "stop_runtime": _giving_everything_up("stopped", not_in=("destroyed",)),
    "destroy": _giving_everything_up("destroyed", not_in=("destroyed",)),
}
