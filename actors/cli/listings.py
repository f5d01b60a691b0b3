"""``meerkat runtimes``, ``inputs`` and ``receipts``: what is stored, a page at a time.

They read beside a running process. What an input holds is shown only when it is asked for.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar, cast

from attrs import frozen

from actors.cli.looking import looking_at, runtime_named
from actors.cli.outputs import say
from actors.cli.status import ExitStatus, UsageError
from actors.cli.tables import age, print_table
from actors.cli.texts import json_line
from actors.clock import SystemClock
from meerkat.codec import to_json
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import completion_of
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Order, Page, RuntimeStore, RuntimeSummary

T = TypeVar("T")

Facts: TypeAlias = dict[str, Any]
"""What is said of one thing, by name: the JSON of it, but for times."""

Columns: TypeAlias = Mapping[str, Callable[[Facts], Any]]
"""A table for people: its headings, and what stands below them. A time is shown as an age."""

_DIGEST_SHOWN: Final = 12
"""Hexadecimal digits of a digest in a table: enough to tell two apart."""


def _fact(name: str) -> Callable[[Facts], Any]:
    return itemgetter(name)


@frozen(kw_only=True)
class Paging:
    """Which page, and how it is printed."""

    after: str | None
    limit: int
    json: bool


# --- runtimes ---------------------------------------------------------------------------


@frozen(kw_only=True)
class RuntimesOptions:
    """What the command line says."""

    store: RuntimeStore
    order: Order
    states: Collection[RuntimeState]
    paging: Paging


def runtimes(options: RuntimesOptions) -> ExitStatus:
    """Print the runtimes. Raises UsageError and StoreError."""
    paging = options.paging

    def read(store: RuntimeStore) -> Page[RuntimeSummary]:
        return store.page_summaries(
            options.order, states=options.states, after=paging.after, limit=paging.limit
        )

    with looking_at(options.store) as store:
        page = _page(read, store, paging)
    _print("runtimes", page.next, map(_of_runtime, page.items), _RUNTIME, paging)
    return ExitStatus.OK


def _of_runtime(summary: RuntimeSummary) -> Facts:
    row = summary.row
    return {
        "runtime_id": summary.name,
        "state": None if row is None else str(row.state),
        "registered": None if row is None else row.registered,
        "paused": None if row is None else row.paused,
        "pending_inputs": summary.pending,
        "oldest_at": summary.oldest_at,
        "set_aside": None if row is None else row.set_aside,
        "unreadable": summary.unreadable,
    }


def _note_of(facts: Facts) -> str | None:
    if facts["unreadable"] is not None:
        return f"unreadable: {facts['unreadable']}"
    if facts["set_aside"] is not None:
        return f"set aside: {facts['set_aside']}"
    if not facts["registered"]:
        return "unregistered"
    return "paused" if facts["paused"] else None


_RUNTIME: Final[Columns] = {
    "RUNTIME": _fact("runtime_id"),
    "STATE": _fact("state"),
    "PENDING": _fact("pending_inputs"),
    "OLDEST": _fact("oldest_at"),
    "NOTE": _note_of,
}


# --- inputs -----------------------------------------------------------------------------


@frozen(kw_only=True)
class InputsOptions:
    """What the command line says."""

    runtime_id: str
    store: RuntimeStore
    ended: bool
    payload: bool
    paging: Paging


def inputs(options: InputsOptions) -> ExitStatus:
    """Print the inputs of a runtime. Raises UsageError, NotFoundError and StoreError."""
    paging = options.paging
    with looking_at(options.store) as store:
        row = runtime_named(store, options.runtime_id)
        read = store.page_terminal_inputs if options.ended else store.page_active_inputs
        page = read(row.runtime_id, after=paging.after, limit=paging.limit)
    shown = [_of_input(state, payload=options.payload) for state in page.items]
    columns = {**_INPUT, "PAYLOAD": _payload_of} if options.payload else _INPUT
    _print("inputs", page.next, shown, columns, paging)
    return ExitStatus.OK


def _of_input(state: InputState, *, payload: bool) -> Facts:
    facts: Facts = {
        "input_id": str(state.input_id),
        "phase": str(state.phase),
        "kind": None if state.input is None else str(state.input.kind),
        "admission_sequence": state.admission_sequence,
        "attempt_count": state.attempt_count,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "idempotency_key": _text(state.idempotency_key),
        "correlation_id": _text(state.correlation_id),
        "last_run_id": _text(state.last_run_id),
        "last_boundary_sequence": state.last_boundary_sequence,
        "reason": _reason_of(state),
        "last_error": state.last_error,
    }
    if payload:
        facts["payload"] = None if state.input is None else json.loads(to_json(state.input))
    return facts


def _reason_of(state: InputState) -> str | None:
    ending = completion_of(state)
    if ending is None:
        return None
    return ending.reason or _text(ending.displaced_by)


def _payload_of(facts: Facts) -> str | None:
    return None if facts["payload"] is None else json_line(facts["payload"])


_INPUT: Final[Columns] = {
    "INPUT": _fact("input_id"),
    "NUMBER": _fact("admission_sequence"),
    "KIND": _fact("kind"),
    "PHASE": _fact("phase"),
    "TRIES": _fact("attempt_count"),
    "AGE": _fact("created_at"),
    "KEY": _fact("idempotency_key"),
    "NOTE": lambda facts: facts["last_error"] or facts["reason"],
}


# --- receipts ---------------------------------------------------------------------------


@frozen(kw_only=True)
class ReceiptsOptions:
    """What the command line says."""

    runtime_id: str
    store: RuntimeStore
    paging: Paging


def receipts(options: ReceiptsOptions) -> ExitStatus:
    """Print the receipts of a runtime. Raises UsageError, NotFoundError and StoreError."""
    paging = options.paging

    def read(store: RuntimeStore) -> Page[RunBoundaryReceipt]:
        row = runtime_named(store, options.runtime_id)
        return store.page_receipts(row.runtime_id, after=paging.after, limit=paging.limit)

    with looking_at(options.store) as store:
        page = _page(read, store, paging)
    _print("receipts", page.next, map(_of_receipt, page.items), _RECEIPT, paging)
    return ExitStatus.OK


def _of_receipt(receipt: RunBoundaryReceipt) -> Facts:
    return cast("Facts", json.loads(to_json(receipt)))


_RECEIPT: Final[Columns] = {
    "RUN": _fact("run_id"),
    "NUMBER": _fact("sequence"),
    "BOUNDARY": _fact("boundary"),
    "INPUTS": lambda facts: len(facts["contributing_input_ids"]),
    "MESSAGES": lambda facts: facts.get("message_count", 0),
    "DIGEST": lambda facts: (facts.get("conversation_digest") or "")[:_DIGEST_SHOWN],
}


# --- a page, printed --------------------------------------------------------------------


def _page(read: Callable[[RuntimeStore], Page[T]], store: RuntimeStore, paging: Paging) -> Page[T]:
    try:
        return read(store)
    except ValueError as error:
        raise UsageError(f"--after: {paging.after!r} is no place that a page has named") from error


def _print(
    name: str, following: str | None, shown: Iterable[Facts], columns: Columns, paging: Paging
) -> None:
    """Print it, as JSON on one line or as a table; where it goes on, on standard error."""
    if paging.json:
        print(json_line({name: [_plain(facts) for facts in shown], "next": following}))
        return
    now = SystemClock().now()
    rows = [[_cell(cell(facts), now) for cell in columns.values()] for facts in shown]
    if rows:
        print_table(list(columns), rows)
    else:
        say(f"no {name}")
    if following is not None:
        say(f"there are more: --after {shlex.quote(following)}")


def _plain(facts: Facts) -> Facts:
    return {
        name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
        for name, value in facts.items()
    }


def _cell(value: Any, now: datetime) -> Any:
    return age(value, now) if isinstance(value, datetime) else value


def _text(value: object) -> str | None:
    return None if value is None else str(value)
