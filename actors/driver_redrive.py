"""What redriving means to a driver: a few inputs at a time are read, and offered again.

What is read here, and what is decided of it, is one turn: those of one message come back in
their order and in one commit, and nothing that is offered meanwhile comes between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from actors import messages as m
from meerkat import kernel
from meerkat.errors import MeerkatError, Overloaded, PolicyRefused
from meerkat.identifiers import InputId
from meerkat.input_lifecycle import InputState
from meerkat.kernel.accept import refuse_unless_admitting
from meerkat.outcomes import Rejected
from meerkat.redrive import Asked, Offer, comes_back, plan, redriven_id
from meerkat.reports import RedrivenInput, SkippedInput, SkipReason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from actors.driver import DriverActor

AT_ONCE: Final = 64
"""Inputs that come back in one turn: a few milliseconds of a thread that others wait for."""

States = dict[InputId, InputState | None]


def redrive(driver: DriverActor, message: m.Redrive) -> None:
    """Offer some inputs again; the answer leaves once those that are back are durable."""
    refuse_unless_admitting(driver.registered().head)
    states, following = _asked_for(driver, message)
    limits = driver.system.rules.limits
    asked = Asked(
        states=states,
        back=_back(driver, states),
        payloads=driver.system.store.load_payloads(driver.runtime_id, list(states)),
        causes=message.causes,
        payload_bytes_max=limits.payload_bytes_max,
    )
    planned = plan(asked, driver.system.clock.now())
    done = _offered(driver, planned.offers)
    done = evolve(done, skipped=(*planned.skipped, *done.skipped), next=following)
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: done)


def _asked_for(driver: DriverActor, message: m.Redrive) -> tuple[States, str | None]:
    """The inputs of a message, and where the listing goes on behind them."""
    store, runtime_id = driver.system.store, driver.runtime_id
    if message.input_ids is None:
        page = store.page_abandoned_inputs(runtime_id, after=message.after, limit=AT_ONCE)
        back = _back(driver, [state.input_id for state in page.items])
        left = comes_back(page.items, back, message.causes)
        return {state.input_id: state for state in left}, page.next
    stored = store.load_known_inputs(runtime_id, message.input_ids, ())
    known = {state.input_id: state for state in stored}
    ledger = driver.registered().ledger
    return {each: known.get(each) or ledger.get(each) for each in message.input_ids}, None


def _back(driver: DriverActor, input_ids: Collection[InputId]) -> frozenset[InputId]:
    """The ids under which inputs come back, of those that have."""
    ids = [redriven_id(each) for each in input_ids]
    ledger = driver.registered().ledger
    stored = driver.system.store.load_known_inputs(driver.runtime_id, ids, ())
    return frozenset(
        [state.input_id for state in stored] + [each for each in ids if ledger.get(each)]
    )


def _offered(driver: DriverActor, offers: Sequence[Offer]) -> m.Redriven:
    """Offer them in order, up to the first that there is no room for."""
    redriven: list[RedrivenInput] = []
    skipped: list[SkippedInput] = []
    refused: MeerkatError | None = None
    for offer in offers:
        old_id, new_id = offer.abandoned_id, offer.input.id
        try:
            why = _refusal(driver, offer)
        except Overloaded as full:
            refused = full
            break
        if why is None:
            redriven.append(RedrivenInput(input_id=old_id, redriven_as=new_id))
        else:
            reason = SkipReason.REFUSED
            skipped.append(SkippedInput(input_id=old_id, reason=reason, detail=why))
    return m.Redriven(redriven=tuple(redriven), skipped=tuple(skipped), refused=refused)


def _refusal(driver: DriverActor, offer: Offer) -> str | None:
    """Offer one; why it is not taken in, None when it is. Raises Overloaded."""
    try:
        outcome = driver.decide(kernel.AcceptInput(offer.input, offer.payload)).reply
    except PolicyRefused as error:
        return error.reason
    return str(outcome.reason) if isinstance(outcome, Rejected) else None
