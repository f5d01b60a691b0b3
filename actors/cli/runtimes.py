"""``meerkat runtimes``: the runtimes of a store, what waits for them, and what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from datetime import datetime
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_store, store_of
from actors.cli.looking import looking_at
from actors.cli.outputs import say
from actors.cli.owner import page_of
from actors.cli.pages import Columns, Paging, add_paging, fact, paging_of, print_page, read_page
from actors.cli.rates import time_in
from actors.cli.status import ExitStatus, NotFoundError, OwnerError
from actors.facts import Facts, note_of, runtime_facts, state_of
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Order, Page, RuntimeStore, RuntimeSummary, SqliteStore
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
        runs = _runs_in_hand(store)
    shown = (runtime_facts(summary, runs.get(summary.name)) for summary in page.items)
    print_page("runtimes", page.next, shown, _RUNTIME, paging)
    return ExitStatus.OK


def _runs_in_hand(store: RuntimeStore) -> dict[str, Facts]:
    """As the owner tells them on its page, by runtime; none where it serves none."""
    try:
        page = page_of(store.path) if isinstance(store, SqliteStore) else None
        told = {} if page is None else page.read("/api/runs")
    except (OwnerError, NotFoundError) as error:
        say(f"which of them run is not known: {error}")
        return {}
    return {run["runtime_id"]: run for run in told.get("runs", ())}


def _run_began(facts: Facts) -> datetime | None:
    return time_in((facts["run"] or {}).get("began_at"))


_RUNTIME: Final[Columns] = {
    "RUNTIME": fact("runtime_id"),
    "STATE": state_of,
    "PENDING": fact("pending_inputs"),
    "OLDEST": fact("oldest_at"),
    "RUN": _run_began,
    "NOTE": note_of,
}


_STATES: Final = tuple(
    map(
        str,
        (
            RuntimeState.IDLE,
            RuntimeState.RETIRED,
            RuntimeState.STOPPED,
            RuntimeState.DESTROYED,
        ),
    )
)
"""Those that are stored, which knows of no run and no executor."""


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
        choices=_STATES,
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
Which of them run, and for how long, the
process that has the database tells on
its page, where it serves one.

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
