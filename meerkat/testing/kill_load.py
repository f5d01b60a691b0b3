"""Kill load: the work that children do until they are killed, where a host has none of its own.

Three runtimes are worked side by side. Each round gives each of them an input and one that is
steered into its run; some runs fail at first; then a guest looks in, for whom one of the three
has to leave memory. Each run leaves a message that names the inputs it has done, so that what
was done twice, or not at all, can be seen in the messages alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from actors import ControlPlane
from actors.door import Submission
from meerkat.errors import ApplyFailed, Overloaded
from meerkat.identifiers import InputId
from meerkat.input_lifecycle import InputPhase
from meerkat.inputs import PromptInput
from meerkat.interfaces import RunContext
from meerkat.json_values import parse
from meerkat.limits import Backoff, Limits, Retention
from meerkat.outcomes import Accepted, CompletionOutcome
from meerkat.runs import RunOutput, StagedInput
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.testing.invariants import InvariantBroken, observed
from meerkat.testing.kills import DATABASE
from meerkat.testing.processes import Told

T = TypeVar("T")

RUNTIMES: Final = ("a", "b", "c")
GUEST: Final = "guest"
ROUNDS: Final = 4
"""Rounds of a life that nobody ends."""

LIMITS: Final = Limits(crash_attempts_max=1_000_000, live_runtimes_max=len(RUNTIMES))
"""No input is given up because its process was killed too often; there is no room for a guest."""

_STEERED: Final = {"handling_mode": "steer"}
_KEEP: Final = Retention(max_count=6)
_STEER_WAIT_S: Final = 0.02
"""How long a run waits for what is steered into it; a host that was killed steers no more."""

PATIENCE_S: Final = 30.0


def load(told: Told, folder: Path, life: int) -> None:
    """Work for some rounds, then let everything come to its end."""
    work(told, SqliteStore(folder / DATABASE), life)


def pruning_load(told: Told, folder: Path, life: int) -> None:
    """The same with retention at work; no receipts are told, as they are not kept."""
    work(told, SqliteStore(folder / DATABASE), life, keep=_KEEP)


def work(told: Told, store: RuntimeStore, life: int, *, keep: Retention | None = None) -> None:
    """The same over any store. ``life`` is a number that no earlier life has had."""
    plane = ControlPlane(
        store,
        _Agent(told),
        limits=LIMITS,
        backoff=Backoff(base_s=0.001),
        passivate_after=None,
    )
    with plane:
        plane.register_many(RUNTIMES)
        for number in range(ROUNDS):
            _round(plane, told, f"{life}-{number}", receipts=keep is None)
            _with_room(partial(plane.register, GUEST))
            if keep is not None:
                _prune(store, keep)
        plane.stop(drain=True)


def _round(plane: ControlPlane, told: Told, name: str, *, receipts: bool) -> None:
    offered = [
        (runtime_id, _offered(plane, runtime_id, name, kind))
        for kind in ("plain", "steered")
        for runtime_id in RUNTIMES
    ]
    ids = [_accepted(told, runtime_id, submission) for runtime_id, submission in offered]
    for (runtime_id, submission), input_id in zip(offered, ids, strict=True):
        told.resolved(runtime_id, input_id, _ended(submission.completion))
        if receipts:
            _tell_receipt(plane, told, runtime_id, input_id)


def _offered(plane: ControlPlane, runtime_id: str, name: str, kind: str) -> Submission:
    meta: Any = _STEERED if kind == "steered" else None
    name = f"{name}-{kind}"
    prompt = PromptInput(name, idempotency_key=name, turn_metadata=meta)
    return _with_room(partial(plane.submit, runtime_id, prompt))


def _with_room(call: Callable[[], T]) -> T:
    """Call until there is room in memory: soon, as whoever has it has nothing more to do."""
    while True:
        try:
            return call()
        except Overloaded as full:
            if full.limit != "live_runtimes_max":
                raise


def _accepted(told: Told, runtime_id: str, submission: Submission) -> InputId:
    outcome = submission.accepted.result(PATIENCE_S)
    if not isinstance(outcome, Accepted):
        raise AssertionError(f"an input that nobody had offered was {outcome}")  # noqa: TRY004
    told.accepted(runtime_id, outcome.input_id)
    return outcome.input_id


def _ended(completion: Future[CompletionOutcome]) -> CompletionOutcome:
    return completion.result(PATIENCE_S)


def _tell_receipt(plane: ControlPlane, told: Told, runtime_id: str, input_id: InputId) -> None:
    state = plane.input_state(runtime_id, input_id)
    if state is None or state.last_run_id is None or state.last_boundary_sequence is None:
        raise AssertionError(f"input {input_id} has ended, and no run has done it: {state}")
    place = state.last_run_id, state.last_boundary_sequence
    receipt = plane.load_boundary_receipt(runtime_id, *place)
    if receipt is None:
        raise AssertionError(f"input {input_id} has ended, and its receipt is not there")
    told.receipt(runtime_id, receipt)


def _prune(store: RuntimeStore, keep: Retention) -> None:
    after: str | None = None
    while True:
        after = store.prune(keep, datetime.now(UTC), after=after).next
        if after is None:
            return


class _Agent:
    """Says what it is called for, fails now and then, and takes in what is steered."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        ids = primitive.contributing_input_ids
        self._told.called(context.runtime_id, context.run_id, ids)
        if context.attempt == 1 and primitive.text.endswith("1-plain"):
            raise ApplyFailed("it fails at first")
        if not primitive.text.endswith("steered"):
            context.wait(_STEER_WAIT_S)
        boundary = context.boundary()
        if boundary:
            boundary.commit(append=[_done([each.id for each in boundary.inputs])])
        return RunOutput(append=[_done(ids)], result="done")


def _done(ids: Any) -> dict[str, Any]:
    return {"done": [str(each) for each in ids]}


# --- what is left of it -----------------------------------------------------------------


def check_load(store: RuntimeStore) -> None:
    """Everything that was consumed was done once, and nothing else: InvariantBroken, else."""
    for runtime_id, moment in observed(store).items():
        done: Counter[str] = Counter()
        if moment.session is not None:
            for message in parse(moment.session.messages):
                done.update(message["done"])
        consumed = {
            str(state.input_id)
            for state in moment.inputs.values()
            if state.phase is InputPhase.CONSUMED
        }
        for input_id in consumed ^ set(done) | {each for each, times in done.items() if times > 1}:
            found = f"consumed {input_id in consumed}, done {done[input_id]} times"
            raise InvariantBroken(10, found, runtime_id=runtime_id, input_id=input_id)


def check_all_done(store: RuntimeStore) -> None:
    """Nothing waits any more, and everything was done: InvariantBroken, else."""
    for runtime_id, moment in observed(store).items():
        for state in moment.inputs.values():
            if state.phase is not InputPhase.CONSUMED:
                found = f"it is {state.phase} at the end"
                raise InvariantBroken(10, found, runtime_id=runtime_id, input_id=state.input_id)
