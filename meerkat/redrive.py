"""Redrive: an input that was given up is offered again, as a new one.

What has ended never begins again. What comes back is an input of its own, under an id that is
made of the old one's: redriven twice it is known already, and accepted once. It has the old
one as its cause, no idempotency key, which stays the old one's for ever, and no supersession
key, so that it displaces nothing that came since.

Here is decided which inputs come back and as what; nothing is read and nothing is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from attrs import evolve, field, frozen

from meerkat.admission import encode_input
from meerkat.codec import from_json
from meerkat.errors import DecodeError, InputValidationFailed
from meerkat.identifiers import CausationId, InputId
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, InputState
from meerkat.inputs import Input
from meerkat.reports import SkippedInput, SkipReason

EVERY_CAUSE: Final = frozenset(AbandonCause)

_NAME: Final = "meerkat.redrive"
"""Never changed: with another name, what was redriven before would be accepted once more."""


def redriven_id(input_id: InputId) -> InputId:
    """The id under which an input comes back: the same whoever asks, whenever.

    The name-based UUID, version 5 of RFC 9562, of ``meerkat.redrive`` in the namespace that
    the old id is. One that comes back and is given up again has an id of its own after it.
    """
    return InputId(uuid.uuid5(input_id.value, _NAME))


def redriven(abandoned: Input, now: datetime) -> Input:
    """The input as which one comes back: it says and belongs to what that did."""
    return evolve(
        abandoned,
        id=redriven_id(abandoned.id),
        timestamp=now,
        idempotency_key=None,
        supersession_key=None,
        causation_id=CausationId(abandoned.id.value),
    )


@frozen(kw_only=True)
class Offer:
    """An input that comes back, ready to be offered, and whom it stands for."""

    abandoned_id: InputId
    input: Input
    payload: bytes = field(repr=False)


@frozen(kw_only=True)
class Plan:
    """What comes back of some inputs, in their order, and why the others do not."""

    offers: tuple[Offer, ...] = ()
    skipped: tuple[SkippedInput, ...] = ()


@frozen(kw_only=True)
class Asked:
    """Some of the inputs of a runtime, and what is known of them.

    ``states`` has None for those that nobody knows, ``back`` the ids among those of
    :func:`redriven_id` that are known, ``payloads`` what the inputs say, as far as it is kept.
    """

    states: Mapping[InputId, InputState | None]
    back: Collection[InputId]
    payloads: Mapping[InputId, bytes] = field(repr=False)
    causes: Collection[AbandonCause] = EVERY_CAUSE
    payload_bytes_max: int


def abandoned_for(state: InputState | None) -> AbandonCause | None:
    """Why an input was given up; None when it was not."""
    outcome = None if state is None else state.terminal_outcome
    return outcome.reason.cause if isinstance(outcome, AbandonedOutcome) else None


def comes_back(
    states: Iterable[InputState], back: Collection[InputId], causes: Collection[AbandonCause]
) -> list[InputState]:
    """Those of a listing that were given up for one of these causes, and are not back yet."""
    return [
        state
        for state in states
        if abandoned_for(state) in causes and redriven_id(state.input_id) not in back
    ]


def plan(asked: Asked, now: datetime) -> Plan:
    """What comes back of the inputs that were asked for. Those of other causes are left out."""
    offers: list[Offer] = []
    skipped: list[SkippedInput] = []
    for input_id, state in asked.states.items():
        cause = abandoned_for(state)
        if cause is not None and cause not in asked.causes:
            continue
        reason = _hindrance(input_id, state, asked)
        if reason is None:
            try:
                offers.append(_offer(input_id, asked, now))
                continue
            except (DecodeError, InputValidationFailed) as error:
                reason = SkipReason.REFUSED, error.reason
        skipped.append(SkippedInput(input_id=input_id, reason=reason[0], detail=reason[1]))
    return Plan(offers=tuple(offers), skipped=tuple(skipped))


def _hindrance(
    input_id: InputId, state: InputState | None, asked: Asked
) -> tuple[SkipReason, str | None] | None:
    if state is None:
        return SkipReason.UNKNOWN, None
    if abandoned_for(state) is None:
        return SkipReason.NOT_ABANDONED, str(state.phase)
    if redriven_id(input_id) in asked.back:
        return SkipReason.REDRIVEN_ALREADY, str(redriven_id(input_id))
    if input_id not in asked.payloads:
        return SkipReason.PAYLOAD_GONE, None
    return None


def _offer(input_id: InputId, asked: Asked, now: datetime) -> Offer:
    abandoned = from_json(Input, asked.payloads[input_id])
    if abandoned.id != input_id:
        raise DecodeError("its payload is another input's")
    again = redriven(abandoned, now)
    payload = encode_input(again, asked.payload_bytes_max)
    return Offer(abandoned_id=input_id, input=again, payload=payload)
