"""``meerkat prune`` and ``meerkat vacuum``: less of the past, and a smaller file.

Both take the database over for the one call; one that a process owns is refused with its name.
"""

from __future__ import annotations

import argparse
from typing import Final

from attrs import evolve, frozen

from actors.cli.asking import add_yes, agreed
from actors.cli.grammar import Command, add_json, add_store, positive, store_of
from actors.cli.looking import database_of, sqlite_of
from actors.cli.outputs import say
from actors.cli.status import ExitStatus, UsageError
from actors.cli.texts import json_line
from actors.clock import SystemClock
from meerkat.limits import Retention
from meerkat.store import Pruned, RuntimeStore


@frozen(kw_only=True)
class PruneOptions:
    """What the command line says."""

    keep: Retention
    store: RuntimeStore
    yes: bool
    json: bool


def prune(options: PruneOptions) -> ExitStatus:
    """Cut the past down, and say by how much. Raises UsageError and StoreError."""
    store, keep = options.store, options.keep
    database_of(store)
    if keep.keeps_everything:
        raise UsageError("prune: say what is kept, by --max-age-days or --max-count")
    if not options.yes and not agreed("prune", "what is past it is gone for good"):
        say("nothing was done")
        return ExitStatus.TROUBLE
    store.acquire()
    try:
        done = _pruned(store, keep)
    finally:
        store.close()
    if options.json:
        print(json_line({name: getattr(done, name) for name in _COUNTED}))
    else:
        print(", ".join(f"{getattr(done, name)} {name}" for name in _COUNTED) + " cut down")
    return ExitStatus.OK


_COUNTED = ("inputs", "receipts", "operations")


def _pruned(store: RuntimeStore, keep: Retention) -> Pruned:
    """Step after step, each a small transaction: one that is interrupted has done its part."""
    now, total, after = SystemClock().now(), Pruned(), None
    while True:
        step = store.prune(keep, now, after=after)
        total = evolve(total, **{n: getattr(total, n) + getattr(step, n) for n in _COUNTED})
        if step.next is None:
            return total
        after = step.next


@frozen(kw_only=True)
class VacuumOptions:
    """What the command line says."""

    store: RuntimeStore
    json: bool


def vacuum(options: VacuumOptions) -> ExitStatus:
    """Make the file as small as what is in it. Raises UsageError and StoreError."""
    path, store = database_of(options.store), sqlite_of(options.store)
    before = path.stat().st_size
    store.acquire()
    try:
        store.vacuum()
    finally:
        store.close()
    after = path.stat().st_size
    if options.json:
        print(json_line({"bytes_before": before, "bytes": after}))
    else:
        print(f"{path}: {before} bytes before, {after} now")
    return ExitStatus.OK


# --- the commands -----------------------------------------------------------------------

DAY_S: Final = 86_400.0


def _add_options_of_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-age-days", metavar="D", type=positive, help="keep what ended in the last D days"
    )
    parser.add_argument(
        "--max-count", metavar="N", type=positive, help="keep the last N inputs of each runtime"
    )
    add_store(parser)
    add_yes(parser)
    add_json(parser)


def _act_on_prune(given: argparse.Namespace) -> ExitStatus:
    age_s = None if given.max_age_days is None else given.max_age_days * DAY_S
    keep = Retention(max_age_s=age_s, max_count=given.max_count)
    return prune(PruneOptions(keep=keep, store=store_of(given), yes=given.yes, json=given.json))


PRUNE: Final = Command(
    name="prune",
    summary="cut the past down",
    help="""\
Cut down what has ended and is past what
is kept: payloads, histories, receipts.
Keys and ids deduplicate for ever. The
database must not be in use.

examples:
  meerkat prune --max-age-days 30
  meerkat prune --max-count 10000 --yes

""",
    add_options=_add_options_of_prune,
    act=_act_on_prune,
)


def _add_options_of_vacuum(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_json(parser)


def _act_on_vacuum(given: argparse.Namespace) -> ExitStatus:
    return vacuum(VacuumOptions(store=store_of(given), json=given.json))


VACUUM: Final = Command(
    name="vacuum",
    summary="make the file smaller",
    help="""\
Write the file anew, as small as what is
in it. The database must not be in use,
and there must be room for another copy.

examples:
  meerkat vacuum

""",
    add_options=_add_options_of_vacuum,
    act=_act_on_vacuum,
)
