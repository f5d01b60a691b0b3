"""Redrive: which inputs come back, and as what."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from attrs import evolve
from builders import ONE_OF_EACH_KIND, START, operation, progress, prompt, uuid_of

from meerkat import Input, InputId, InputState, from_json, to_json
from meerkat import input_lifecycle as lifecycle
from meerkat.admission import encode_input
from meerkat.identifiers import CausationId, CorrelationId
from meerkat.input_lifecycle import AbandonCause, AbandonReason
from meerkat.redrive import EVERY_CAUSE, Asked, comes_back, plan, redriven, redriven_id
from meerkat.reports import RedrivenInput, RedriveReport, SkippedInput, SkipReason

OLD, NEW = InputId(uuid_of(1)), InputId(uuid.UUID("d2fae6f3-fa3e-59fa-bcca-eb84a7831c6e"))
KEYED: dict[str, Any] = {"idempotency_key": "k", "supersession_key": "s"}
ROOM = 1024 * 1024


def given_up(offered: Input, cause: AbandonCause = AbandonCause.RESET) -> InputState:
    attempts = 0 if cause is AbandonCause.MAX_ATTEMPTS_EXHAUSTED else None
    state = InputState.of(offered, START)
    return lifecycle.abandon(state, START, reason=AbandonReason(cause, attempts))


def asked(*states: InputState, **changes: Any) -> Asked:
    """All is known and kept of some inputs, and none of them is back."""
    known = {state.input_id: state for state in states}
    payloads = {each: to_json(prompt(f"input {n}", id=each)) for n, each in enumerate(known)}
    given = Asked(states=known, back=(), payloads=payloads, payload_bytes_max=ROOM)
    return evolve(given, **changes)


# --- as what ----------------------------------------------------------------------------


def test_the_id_is_the_same_for_ever() -> None:
    """It is written into databases: with another one, all would be accepted once more."""
    assert redriven_id(OLD) == NEW
    assert NEW.value == uuid.uuid5(OLD.value, "meerkat.redrive")
    assert (NEW.value.version, NEW.value.variant) == (5, uuid.RFC_4122)
    assert redriven_id(NEW) not in (OLD, NEW)


@pytest.mark.parametrize("make", ONE_OF_EACH_KIND)
def test_it_says_what_the_old_one_said_under_an_id_of_its_own(make: Any) -> None:
    exchange = CorrelationId(uuid_of(7))
    old = make(id=OLD, timestamp=START, correlation_id=exchange, **KEYED)
    new = redriven(old, START.replace(year=2027))
    assert (new.id, new.causation_id) == (NEW, CausationId(OLD.value))
    assert (new.idempotency_key, new.supersession_key) == (None, None)
    assert (new.correlation_id, new.timestamp.year) == (exchange, 2027)
    same = {"id": OLD, "timestamp": START, "causation_id": None, **KEYED}
    assert evolve(new, **same) == old
    assert from_json(Input, to_json(new)) == new


# --- which ------------------------------------------------------------------------------


def test_inputs_come_back_in_the_order_asked() -> None:
    states = [given_up(prompt(id=InputId(uuid_of(n)))) for n in (5, 3, 4)]
    found = plan(asked(*states), START)
    assert [offer.abandoned_id for offer in found.offers] == [s.input_id for s in states]
    assert [offer.input.content for offer in found.offers] == ["input 0", "input 1", "input 2"]
    assert [offer.payload for offer in found.offers] == [
        encode_input(offer.input, ROOM) for offer in found.offers
    ]
    assert found.skipped == ()


QUEUED = InputState.of(prompt(id=OLD), START)
ABANDONED = given_up(prompt(id=OLD))


@pytest.mark.parametrize(
    ("given", "reason", "detail"),
    [
        (asked(states={OLD: None}), SkipReason.UNKNOWN, None),
        (asked(QUEUED), SkipReason.NOT_ABANDONED, "accepted"),
        (asked(ABANDONED, back={NEW}), SkipReason.REDRIVEN_ALREADY, str(NEW)),
        (asked(ABANDONED, payloads={}), SkipReason.PAYLOAD_GONE, None),
        (asked(ABANDONED, payload_bytes_max=9), SkipReason.REFUSED, "limit of 9"),
        (asked(ABANDONED, payloads={OLD: b"{}"}), SkipReason.REFUSED, "input_type"),
        (asked(ABANDONED, payloads={OLD: to_json(prompt())}), SkipReason.REFUSED, "another"),
    ],
    ids=["unknown", "not-abandoned", "already", "gone", "too-large", "unreadable", "another's"],
)
def test_what_does_not_come_back_is_named_with_the_reason(
    given: Asked, reason: SkipReason, detail: str | None
) -> None:
    found = plan(given, START)
    assert found.offers == ()
    (skipped,) = found.skipped
    assert (skipped.input_id, skipped.reason) == (OLD, reason)
    assert skipped.detail == detail if detail is None else detail in str(skipped.detail)


def test_those_given_up_for_another_cause_are_left_out() -> None:
    states = [
        given_up(prompt(id=InputId(uuid_of(n))), cause) for n, cause in enumerate(AbandonCause)
    ]
    wanted = AbandonCause.MAX_ATTEMPTS_EXHAUSTED, AbandonCause.STOPPED
    found = plan(asked(*states, causes=wanted), START)
    assert {offer.abandoned_id.value.int for offer in found.offers} == {
        n for n, cause in enumerate(AbandonCause) if cause in wanted
    }
    assert found.skipped == ()
    assert comes_back(states, (), wanted) == [s for s in states if _cause_of(s) in wanted]


def _cause_of(state: InputState) -> AbandonCause:
    assert isinstance(state.terminal_outcome, lifecycle.AbandonedOutcome)
    return state.terminal_outcome.reason.cause


def test_of_a_listing_what_is_back_is_not_asked_for_again() -> None:
    states = [given_up(each(id=InputId(uuid_of(n)))) for n, each in enumerate((prompt, progress))]
    back = {redriven_id(states[0].input_id)}
    assert comes_back(states, back, EVERY_CAUSE) == [states[1]]
    consumed = lifecycle.consume_on_accept(InputState.of(operation(), START), START, policy=None)
    assert comes_back([consumed], (), EVERY_CAUSE) == []


# --- the report -------------------------------------------------------------------------


def test_the_report_on_the_wire() -> None:
    report = RedriveReport(
        redriven=(RedrivenInput(input_id=OLD, redriven_as=NEW),),
        skipped=(SkippedInput(input_id=OLD, reason=SkipReason.PAYLOAD_GONE),),
    )
    assert to_json(report) == (
        b'{"redriven":[{"input_id":"%s","redriven_as":"%s"}],'
        b'"skipped":[{"input_id":"%s","reason":"payload_gone"}]}'
        % (str(OLD).encode(), str(NEW).encode(), str(OLD).encode())
    )
    assert from_json(RedriveReport, to_json(report)) == report
    assert from_json(RedriveReport, b"{}") == RedriveReport()


@pytest.mark.parametrize(
    "build",
    [
        lambda: RedrivenInput(input_id=str(OLD), redriven_as=NEW),
        lambda: SkippedInput(input_id=OLD, reason="unknown"),
        lambda: SkippedInput(input_id=OLD, reason=SkipReason.UNKNOWN, detail=1),
    ],
)
def test_a_report_of_something_else_is_refused(build: Any) -> None:
    with pytest.raises(TypeError):
        build()
