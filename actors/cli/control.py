"""Calls made by hand: ``meerkat retire``, ``pause``, ``recover`` and the others of ``VERBS``.

The database is taken over for the one call. One that a running process owns is that process's to
act on: it is asked over the page that it serves with its actions allowed, and without one the call
is refused with the owner's name. Never is anything done behind its back.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from actors.by_hand import done_by_hand
from actors.cli.asking import add_yes, agreed
from actors.cli.grammar import Command, add_json, add_runtime, add_store, store_of
from actors.cli.looking import database_of, row_of
from actors.cli.outputs import say
from actors.cli.owner import OwnerGone, page_of
from actors.cli.status import ExitStatus, OwnerError
from actors.cli.texts import json_line, one_line
from actors.facts import Facts
from actors.verbs import VERBS, Verb, picked
from meerkat.errors import Overloaded
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import AbandonCause
from meerkat.reports import SkipReason
from meerkat.store import RuntimeStore
from meerkat.store.ownership import StoreInUse


@frozen(kw_only=True)
class ControlOptions:
    """What the command line says."""

    verb: str
    runtime_id: LogicalRuntimeId
    store: RuntimeStore
    picked: Mapping[str, Any]
    yes: bool
    json: bool


def control(options: ControlOptions) -> ExitStatus:
    """Do it and say what was done. Raises UsageError, NotFoundError and MeerkatError."""
    verb, store = VERBS[options.verb], options.store
    database = database_of(store)
    try:
        runtime_id = row_of(store, options.runtime_id).runtime_id
        if verb.asks is not None and not options.yes and not _asked(options, verb.asks, store):
            say("nothing was done")
            return ExitStatus.TROUBLE
    finally:
        store.close()
    try:
        done = done_by_hand(store, verb, runtime_id, **picked(verb, options.picked))
    except Overloaded:
        say("what came back until then is back; have it worked, then call it again")
        raise
    except StoreInUse as in_use:
        done = _done_by_owner(in_use, database, options)
    else:
        _say_leftover(database)
    if options.json:
        print(json_line(done))
    else:
        _print(done, _AND.get(options.verb, ""))
    return _status_of(done)


def _done_by_owner(in_use: StoreInUse, database: Path, options: ControlOptions) -> Facts:
    """Have the process do it that owns the database; OwnerError where it cannot be asked."""
    name = str(options.runtime_id)
    call = VERBS[options.verb].call.__name__
    itself = f"that process is to do it, by {call}({name!r}) of its ControlPlane"
    try:
        page = page_of(database)
        if page is None:
            raise OwnerError(
                f"{in_use.text}, which serves no page: {itself}, or is to be started with a page "
                "that acts (meerkat run ... --serve --allow-actions)"
            )
        if not page.access.allow_actions:
            raise OwnerError(
                f"{in_use.text}, whose page only shows: {itself}, or is to serve its page with "
                "actions allowed (--allow-actions)"
            )
        return page.act(name, options.verb, options.picked)
    except OwnerGone as gone:
        raise OwnerError(f"{in_use.text}, which serves no page ({gone}): {itself}") from gone


def _say_leftover(database: Path) -> None:
    """Tell of a page whose process has ended without taking its file along."""
    try:
        page_of(database)
    except OwnerError as error:
        say(str(error))


def _asked(options: ControlOptions, asks: str, store: RuntimeStore) -> bool:
    pending = len(store.load_active_inputs(options.runtime_id))
    named = f"{options.verb} {one_line(str(options.runtime_id))}"
    return agreed(named, asks.format(pending=pending))


def _print(done: Facts, besides: str) -> None:
    print(f"{one_line(done['runtime_id'])} is {done['state']}{besides}")
    for name, value in done.items():
        for text in _LINES.get(name, _one)(value):
            print(f"{name.replace('_', ' ')}: {one_line(text)}")


_AND: Final[Mapping[str, str]] = {"pause": ", and paused", "resume": ", and not paused"}
"""What a verb changes that is no state."""


def _one(value: Any) -> list[str]:
    return [str(value)]


def _words_of(skipped: list[Facts]) -> list[str]:
    return [" ".join(filter(None, each.values())) for each in skipped]


_LINES: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "runtime_id": lambda _: [],
    "state": lambda _: [],
    "details": list,
    "redriven": lambda pairs: [str(len(pairs))],
    "skipped": _words_of,
}
"""Part of a report → its lines for people; of what is not here, one."""


def _status_of(report: Facts) -> ExitStatus:
    """What came back before is as it should be; what cannot come back is trouble."""
    back = str(SkipReason.REDRIVEN_ALREADY)
    gone = [each for each in report.get("skipped", ()) if each["reason"] != back]
    return ExitStatus.TROUBLE if gone else ExitStatus.OK


# --- the commands -----------------------------------------------------------------------

_COLUMNS: Final = 40


_CAUSES: Final = tuple(str(each) for each in AbandonCause)


def _add_options(verb: Verb, parser: argparse.ArgumentParser) -> None:
    add_runtime(parser)
    if verb.picks:
        parser.add_argument(
            "--input",
            metavar="ID",
            dest="input_ids",
            action="append",
            type=_input_id,
            help="this input; may be given many times (default: every one)",
        )
        parser.add_argument(
            "--reason",
            dest="causes",
            action="append",
            choices=_CAUSES,
            metavar="WORD",
            help=f"what was given up for this; may be given many times: {', '.join(_CAUSES)}",
        )
    add_store(parser)
    add_yes(parser)
    add_json(parser)


def _input_id(text: str) -> str:
    try:
        return str(InputId.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r}: {error}") from error


def _act(name: str, given: argparse.Namespace) -> ExitStatus:
    return control(
        ControlOptions(
            verb=name,
            runtime_id=given.runtime,
            store=store_of(given),
            picked={each: getattr(given, each, None) for each in ("input_ids", "causes")},
            yes=given.yes,
            json=given.json,
        )
    )


_PICKING: Final = """\
  meerkat redrive support-1 --reason \\
    max_attempts_exhausted
  meerkat redrive support-1 --input \\
    0192f3c1-7d1e-7c55-9a70-5e2f0c9d8b41
"""


def _command(name: str, verb: Verb) -> Command:
    text = f"""\
{textwrap.fill(verb.does, _COLUMNS)}

While a process owns the database it is
asked to do it, over the page that it
serves with actions allowed; without one
it is named, and nothing is done.

examples:
  meerkat {name} support-1
  meerkat {name} support-1 --yes --json
{_PICKING if verb.picks else ""}"""
    return Command(
        name=name,
        operand="RUNTIME",
        summary=verb.summary,
        help=text,
        add_options=partial(_add_options, verb),
        act=partial(_act, name),
    )


BY_HAND: Final = tuple(_command(name, verb) for name, verb in VERBS.items())
