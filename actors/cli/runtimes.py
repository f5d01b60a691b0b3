"""``meerkat runtimes``: the runtimes of a store, what waits for them, and what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_store, store_of
from actors.cli.looking import looking_at
from actors.cli.pages import (
    Columns,
    Facts,
    Paging,
    add_paging,
    fact,
    paging_of,
    print_page,
    read_page,
)
from actors.cli.status import ExitStatus
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Order, Page, RuntimeStore, RuntimeSummary
from meerkat.store.protocol import EVERY_STATE


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
        page = read_page(read, store, paging)
    print_page("runtimes", page.next, map(_of_runtime, page.items), _RUNTIME, paging)
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
    "RUNTIME": fact("runtime_id"),
    "STATE": fact("state"),
    "PENDING": fact("pending_inputs"),
    "OLDEST": fact("oldest_at"),
    "NOTE": _note_of,
}


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument(
        "--sort",
        metavar="BY",
        choices=[str(order) for order in Order],
        default=str(Order.ID),
        help="id, pending (most of them first), or oldest (default: %(default)s)",
    )
    parser.add_argument(
        "--state",
        action="append",
        metavar="STATE",
        choices=[str(state) for state in RuntimeState],
        default=[],
        help="only runtimes in this state; may be given again. States: %(choices)s",
    )
    add_paging(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return runtimes(
        RuntimesOptions(
            store=store_of(given),
            order=Order(given.sort),
            states=frozenset(map(RuntimeState, given.state)) or EVERY_STATE,
            paging=paging_of(given),
        )
    )


RUNTIMES: Final = Command(
    name="runtimes",
    summary="list the runtimes of a store",
    help="""\
Print the runtimes of a store: state,
inputs that have not ended, how long the
oldest of them waits, and what is wrong.

examples:
  meerkat runtimes
  meerkat runtimes --sort pending
  meerkat runtimes --sort oldest \\
    --limit 10
  meerkat runtimes --state stopped \\
    --state retired --json

""",
    add_options=_add_options,
    act=_act,
)
