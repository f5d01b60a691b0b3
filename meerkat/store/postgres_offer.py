"""Offering inputs through PostgreSQL: of many runtimes in one transaction, on its own session.

The row of an input is what hands it over: accepted, without a number. An offer and a commit of
its runtime wait for each other, at the row of the runtime, so that a runtime that is retired
meanwhile has taken it in before, or does not take it. Whoever has the runtime is told by a
notification behind the commit: in it, the server would let one such commit in at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from attrs import define, field, frozen

from meerkat.errors import (
    CommitUnknown,
    Overloaded,
    RuntimeDestroyed,
    RuntimeNotFound,
    RuntimeNotReady,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase
from meerkat.outcomes import Accepted, AcceptOutcome, Deduplicated
from meerkat.policy import PolicyDecision
from meerkat.runtime_lifecycle import ADMITTING, RuntimeState
from meerkat.store import postgres_statements as sql
from meerkat.store.postgres_arrays import arrays
from meerkat.store.postgres_hints import channel_of
from meerkat.store.postgres_owning import own_with_others
from meerkat.store.postgres_session import Address, Connection
from meerkat.store.postgres_write import THE_BATCHS_FAULT, input_rows
from meerkat.store.postgres_writer import Writer
from meerkat.store.protocol import InputRow
from meerkat.store.rows import Columns, input_columns, input_of

_ADMITTING: Final = sorted(state.value for state in ADMITTING)

_UNBOUNDED: Final = 1 << 62
"""Room for so many is room for any."""

Answer = AcceptOutcome | Exception


@frozen
class Offer:
    """An input on its way to its runtime, as PostgreSQL takes it."""

    runtime_id: LogicalRuntimeId
    row: InputRow = field(repr=False)
    policy: PolicyDecision
    columns: Columns = field(repr=False)

    @classmethod
    def of(cls, runtime_id: LogicalRuntimeId, row: InputRow) -> Offer:
        """Make one; ValueError or TypeError for what is none, or a row cannot hold."""
        if row.state.phase is not InputPhase.ACCEPTED:
            raise ValueError("only accepted inputs can be offered")
        if row.state.policy is None:
            raise ValueError("what is offered comes with the decision of a policy")
        (columns,) = input_rows([input_columns(runtime_id, row)])
        return cls(runtime_id, row, row.state.policy, columns)

    @property
    def place(self) -> tuple[str, str]:
        """The names of its runtime and of itself."""
        return self.runtime_id.value, str(self.row.state.input_id)

    @property
    def accepted(self) -> Accepted:
        """The answer that it was taken in."""
        state = self.row.state
        return Accepted(input_id=state.input_id, policy=self.policy, state=state)


class Offers:
    """Offers inputs, on a session that no commit of ours waits for. Thread-safe."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._writer = Writer(address, own_with_others)

    def offer_many(
        self, offers: Sequence[tuple[LogicalRuntimeId, InputRow]], pending_max: int | None
    ) -> list[Answer]:
        """Offer inputs of many runtimes; one answer each. Raises StoreError."""
        answers: dict[int, Answer] = {}
        good: dict[int, Offer] = {}
        for number, (runtime_id, row) in enumerate(offers):
            try:
                good[number] = Offer.of(runtime_id, row)
            except (ValueError, TypeError) as error:
                answers[number] = self._blamed(runtime_id, error)
        answers |= zip(good, self._offered([*good.values()], pending_max), strict=True)
        return [answers[number] for number in range(len(offers))]

    def close(self) -> None:
        """Hang up. Idempotent."""
        self._writer.close()

    def _offered(self, offers: Sequence[Offer], pending_max: int | None) -> list[Answer]:
        """The answers; what the server throws at the whole for the sake of one is that one's."""
        if not offers:
            return []
        try:
            return self._together(offers, pending_max)
        except THE_BATCHS_FAULT as error:
            if len(offers) == 1:
                return [self._blamed(offers[0].runtime_id, error)]
        middle = len(offers) // 2
        halves = offers[:middle], offers[middle:]
        return [answer for half in halves for answer in self._offered(half, pending_max)]

    def _together(self, offers: Sequence[Offer], pending_max: int | None) -> list[Answer]:
        group = _Group(self._address, offers, pending_max)
        try:
            answers = self._writer.transact(group.write)
        except THE_BATCHS_FAULT:
            raise
        except psycopg.Error as error:
            raise self._address.says(self._address.said(error)) from error
        except StoreError as error:
            if group.put:  # and nobody knows for how long
                raise CommitUnknown(error.text) from error
            raise
        self._writer.tell(sql.NOTIFY, (sorted(group.hints),))
        return answers

    def _blamed(self, runtime_id: LogicalRuntimeId, error: Exception) -> StoreError:
        return self._address.says(f"runtime {runtime_id}: {self._address.said(error)}")


@define
class _Group:
    """Offers on their way into a transaction, which may have to be done again."""

    address: Address
    offers: Sequence[Offer]
    pending_max: int | None
    put: set[tuple[str, str]] = field(factory=set)
    """What an attempt has put there whose COMMIT was sent: found there later, it is ours."""
    hints: set[str] = field(factory=set)
    """Where those listen who are to be told."""

    def write(self, connection: Connection) -> list[Answer]:
        """Insert what is admitted and new, and find what was known."""
        columns = arrays(sql.OFFER_MANY.types, [each.columns for each in self.offers])
        names = sorted({each.runtime_id.value for each in self.offers})
        room = (_UNBOUNDED, 0) if self.pending_max is None else (self.pending_max,) * 2
        given = (*columns, names, *room, _ADMITTING)
        asked = connection.execute(sql.OFFER_MANY.text, given, prepare=True, binary=True)
        reached(FailPoint.ROWS_WRITTEN)
        answers: dict[int, Answer] = {}
        told: set[tuple[str, str]] = set()
        self.hints, full = set(), set[int]()
        for number, added, is_full, owner, *runtime in asked.fetchall():
            offer = self.offers[number - 1]
            refusal = _refusal(offer.runtime_id, runtime)
            if refusal is not None:
                answers[number] = refusal
            elif added and offer.place not in told:
                told.add(offer.place)
                answers[number] = offer.accepted
                self.hints.add(channel_of(self.address.schema, owner))
            elif is_full:
                full.add(number)
        open_ = [number for number in range(1, len(self.offers) + 1) if number not in answers]
        if open_:
            answers |= self._known(connection, open_, told, full)
        self.put |= told
        return [answers[number] for number in range(1, len(self.offers) + 1)]

    def _known(
        self,
        connection: Connection,
        numbers: Sequence[int],
        told: set[tuple[str, str]],
        full: set[int],
    ) -> dict[int, Answer]:
        """What those are known as that were not put there; of one that is not, was it full?"""
        asked = [self.offers[number - 1].columns for number in numbers]
        given = tuple([row[column] for row in asked] for column in (0, 1, 3))
        rows = connection.execute(sql.KNOWN_OFFERS, given, binary=True).fetchall()
        found = {number: columns for number, *columns in reversed(rows)}  # the key comes first
        return {
            number: self._told(self.offers[number - 1], found.get(place), told)
            if place in found or number not in full
            else Overloaded("pending_inputs_max", self.pending_max or 0)
            for place, number in enumerate(numbers, 1)
        }

    def _told(
        self, offer: Offer, known: Sequence[Any] | None, told: set[tuple[str, str]]
    ) -> Answer:
        if known is None:
            return self.address.says(f"{offer.place[1]} was neither taken in nor known")
        if known[0] == offer.place[1] and offer.place in self.put - told:
            told.add(offer.place)
            return offer.accepted
        try:
            state = input_of(known)
        except Exception as error:  # noqa: BLE001 - of this one
            return error
        return Deduplicated(
            input_id=offer.row.state.input_id, existing_id=state.input_id, existing_state=state
        )


def _refusal(runtime_id: LogicalRuntimeId, stored: Sequence[Any]) -> Exception | None:
    """Why a runtime takes nothing in, as it is stored; None when it does."""
    state, registered, set_aside = stored
    if state == RuntimeState.DESTROYED.value:
        return RuntimeDestroyed()
    if state is None or not registered:
        return RuntimeNotFound(runtime_id)
    if set_aside is not None:
        return RuntimeUnavailable(runtime_id, set_aside.decode())
    return None if state in _ADMITTING else RuntimeNotReady(RuntimeState(state))
