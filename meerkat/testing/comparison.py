"""Comparison: what the model says of a runtime, beside what is found, told readably."""

from __future__ import annotations

from typing import Any

from meerkat.identifiers import InputId
from meerkat.input_lifecycle import AbandonedOutcome, InputState
from meerkat.kernel import RuntimeMemory
from meerkat.policy import Lane
from meerkat.testing.invariants import check_memory, check_moment, check_step
from meerkat.testing.invariants_moments import Moment, Observed, observed
from meerkat.testing.model import RuntimeModel
from meerkat.testing.model_values import Known
from meerkat.testing.subject import Subject


def compare(model: RuntimeModel, subject: Subject, before: Observed | None) -> Observed:
    """Check the model against the runtime, and the invariants; gives what was seen.

    Raises AssertionError that lists every difference, and InvariantBroken.
    """
    seen = observed(subject.store)
    ((runtime_id, moment),) = seen.items()
    states = dict(moment.inputs)
    memory = subject.memory()
    if memory is not None:
        check_memory(memory)
        states |= _ephemeral(model, memory)
    differences = [
        *_of_state(model, memory),
        *_of_inputs(model, {str(input_id): state for input_id, state in states.items()}),
        *_of_receipts(model, moment),
    ]
    if differences:
        raise AssertionError("\n".join(["the model and the runtime differ:", *differences]))
    if before is not None:
        check_step(before, seen)
    check_moment(runtime_id, moment)
    return seen


def _differ(what: str, expected: object, found: object) -> list[str]:
    if expected == found:
        return []
    return [f"  {what}: the model expects {expected}, found is {found}"]


def _ephemeral(model: RuntimeModel, memory: RuntimeMemory) -> dict[InputId, InputState]:
    """Inputs that no store knows of."""
    ids = [InputId.parse(known.id) for known in model.inputs.values() if known.ephemeral]
    states = {input_id: memory.ledger.get(input_id) for input_id in ids}
    return {input_id: state for input_id, state in states.items() if state is not None}


def _of_state(model: RuntimeModel, memory: RuntimeMemory | None) -> list[str]:
    if memory is None:
        return []
    found = _differ("the runtime's state", model.state, str(memory.head.phase.state))
    run = None if memory.head.run is None else list(map(str, memory.head.run.contributors))
    expected = None if model.run is None else [each.id for each in model.run.inputs]
    found += _differ("the run in hand", expected, run)
    for lane in Lane:
        waiting = [str(state.input_id) for state in memory.ledger.waiting(lane)]
        told = [known.id for known in model.waiting(str(lane))]
        found += _differ(f"the {lane} lane", told, waiting)
    return found


def _of_inputs(model: RuntimeModel, states: dict[str, InputState]) -> list[str]:
    missing, too_many = model.inputs.keys() - states.keys(), states.keys() - model.inputs.keys()
    found = [f"  the model expects input {each}, and it is not there" for each in missing]
    found += [f"  the model expects no input {each}, and it is there" for each in too_many]
    for input_id in model.inputs.keys() & states.keys():
        expected, seen = _told(model.inputs[input_id]), _seen(states[input_id])
        for name, value in expected.items():
            found += _differ(f"{name} of {input_id}", value, seen[name])
    return found


def _told(known: Known) -> dict[str, Any]:
    return {
        "the phases": known.history,
        "the attempts": known.attempts,
        "the recoveries": known.recovered,
        "the end": known.end,
        "whether a run has it": known.run,
    }


def _seen(state: InputState) -> dict[str, Any]:
    return {
        "the phases": ["accepted", *(str(line.to_phase) for line in state.history)],
        "the attempts": state.attempt_count,
        "the recoveries": state.recovery_count,
        "the end": _end_of(state),
        "whether a run has it": state.last_run_id is not None,
    }


def _end_of(state: InputState) -> str | None:
    outcome = state.terminal_outcome
    if outcome is None:
        return None
    if isinstance(outcome, AbandonedOutcome):
        attempts = outcome.reason.attempts
        return f"abandoned {outcome.reason}" + ("" if attempts is None else f" {attempts}")
    by = getattr(outcome, "superseded_by", None) or getattr(outcome, "aggregate_id", None)
    return f"{state.phase}" + ("" if by is None else f" {by}")


def _of_receipts(model: RuntimeModel, moment: Moment) -> list[str]:
    expected = sorted(
        (each.inputs, each.boundary, each.sequence, each.count, each.digest)
        for each in model.receipts
    )
    found = sorted(
        (
            [str(input_id) for input_id in each.contributing_input_ids],
            str(each.boundary),
            each.sequence,
            each.message_count,
            each.conversation_digest,
        )
        for each in moment.receipts.values()
    )
    return _differ("the receipts", expected, found)
