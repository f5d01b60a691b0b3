"""``meerkat events``: what happened to inputs, in the order of time, the newest last.

A database has no events: they live in the memory of whoever runs it, and are followed there, see
``following``. What it has is the history of every input, step by step, which is the record that
lasts; they are put in one order here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Final

from attrs import frozen

from actors.cli.following import FollowOptions, follow
from actors.cli.grammar import Command, add_store, optional_runtime, store_of
from actors.cli.looking import looking_at, row_of, sqlite_of
from actors.cli.outputs import say
from actors.cli.pages import Columns, add_limit, fact
from actors.cli.status import ExitStatus, UsageError
from actors.cli.tables import print_table
from actors.cli.texts import json_line
from actors.facts import Facts, plain, step_facts, text_of, text_of_time
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import HistoryEntry, InputState
from meerkat.store import RuntimeStore


@frozen(kw_only=True)
class EventsOptions:
    """What the command line says."""

    runtime_id: LogicalRuntimeId | None
    store: RuntimeStore
    after: Place | None
    limit: int
    json: bool


@frozen(order=True)
class Place:
    """Where a step stands among all: by its time, then its input, then its number there."""

    at: datetime
    input_id: str
    number: int

    @classmethod
    def of(cls, text: str) -> Place:
        """The place that a line has named; ValueError for any other text."""
        at, input_id, number = text.split("/")
        place = cls(datetime.fromisoformat(at), str(InputId.parse(input_id)), int(number))
        if place.at.utcoffset() != timedelta(0):
            raise ValueError("a place has a time in UTC")
        return place

    def __str__(self) -> str:
        return f"{text_of_time(self.at)}/{self.input_id}/{self.number}"


@frozen
class _Step:
    """One line of a history, and where it stands."""

    place: Place
    runtime_id: LogicalRuntimeId
    state: InputState
    entry: HistoryEntry

    @property
    def facts(self) -> Facts:
        state = self.state
        return {
            "runtime_id": str(self.runtime_id),
            "input_id": str(state.input_id),
            **step_facts(self.entry),
            "correlation_id": text_of(state.correlation_id),
            "causation_id": text_of(state.causation_id),
            "place": str(self.place),
        }


def events(options: EventsOptions) -> ExitStatus:
    """Print the last steps. Raises UsageError, NotFoundError and StoreError."""
    with looking_at(options.store) as store:
        if options.runtime_id is not None:
            row_of(store, options.runtime_id)
        since = None if options.after is None else options.after.at
        # Of the latest steps each is an input's that has changed as late, or later.
        wanted = options.limit + 1
        found = sqlite_of(store).latest_inputs(options.runtime_id, since=since, limit=wanted)
    latest = nlargest(wanted, _steps(found, options.after), key=lambda step: step.place)
    shown = latest[: options.limit][::-1]
    if options.json:
        for step in shown:
            print(json_line(plain(step.facts)))
    elif shown:
        rows = [[cell(step.facts) for cell in _COLUMNS.values()] for step in shown]
        print_table(list(_COLUMNS), rows)
    _say_what_it_is(shown, more=len(latest) > options.limit)
    return ExitStatus.OK


def _steps(
    inputs: Iterable[tuple[LogicalRuntimeId, InputState]], after: Place | None
) -> Iterable[_Step]:
    for runtime_id, state in inputs:
        for number, entry in enumerate(state.history):
            place = Place(entry.timestamp, str(state.input_id), number)
            if after is None or place > after:
                yield _Step(place, runtime_id, state, entry)


def _say_what_it_is(shown: list[_Step], *, more: bool) -> None:
    say("these are the histories of inputs; of what else happened a database has no record")
    if not shown:
        say("no events")
        return
    if more:
        say("there are earlier ones: --limit")
    say(f"what comes later: --after {shown[-1].place}")


_COLUMNS: Final[Columns] = {
    "AT": lambda facts: text_of_time(facts["at"].replace(microsecond=0)),
    "RUNTIME": fact("runtime_id"),
    "INPUT": fact("input_id"),
    "FROM": fact("from"),
    "TO": fact("to"),
    "REASON": fact("reason"),
}


# --- the command ------------------------------------------------------------------------


def _place(text: str) -> Place:
    try:
        return Place.of(text)
    except ValueError as error:
        raise UsageError(f"--after: {text[:120]!r} is no place of an event") from error


def _add_options(parser: argparse.ArgumentParser) -> None:
    optional_runtime(parser)
    add_store(parser)
    add_limit(parser)
    parser.add_argument("--after", metavar="PLACE", help="only what came after this event")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="print what happens from now on, in the process that has the database; of one "
        "runtime, with --after, from that number on",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each")


def _act(given: argparse.Namespace) -> ExitStatus:
    if given.follow:
        return follow(
            FollowOptions(
                runtime_id=given.runtime,
                store=store_of(given),
                after=given.after,
                json=given.json,
            )
        )
    return events(
        EventsOptions(
            runtime_id=given.runtime,
            store=store_of(given),
            after=None if given.after is None else _place(given.after),
            limit=given.limit,
            json=given.json,
        )
    )


EVENTS: Final = Command(
    name="events",
    operand="[RUNTIME]",
    summary="what happened to inputs",
    help="""\
Print what happened to the inputs of a
runtime, or of all, the newest last. It
is taken from the histories of inputs,
which is what a database has of it. Each
line of JSON says its place, from which
a later call goes on. --follow prints
what happens from now on instead, as the
process that has the database tells it
on its page.

examples:
  meerkat events
  meerkat events support-1 --follow
  meerkat events support-1 --limit 200
  meerkat events --json --after \\
    "$PLACE"
""",
    add_options=_add_options,
    act=_act,
)
