"""Calls made by hand: ``meerkat retire``, ``pause``, ``recover`` and the others of ``VERBS``.

The database is taken over for the one call, through the front door like any host's. One that a
running process owns is refused with the owner's name: never is anything done behind its back.
No run is started, and no other runtime is loaded.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from attrs import frozen

from actors.cli.asking import agreed
from actors.cli.grammar import Command, add_json, add_runtime, add_store, add_yes, store_of
from actors.cli.looking import database_of, row_of
from actors.cli.outputs import say
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line, one_line
from actors.control_plane import ControlPlane
from meerkat.codec import to_json
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore


@frozen(kw_only=True)
class Verb:
    """One of the calls. ``asks`` is what is said before it gives up what waits; None: nothing."""

    call: Callable[[ControlPlane, str], Any]
    summary: str
    does: str
    asks: str | None = None


VERBS: Final[Mapping[str, Verb]] = {
    "recover": Verb(
        call=ControlPlane.recover,
        summary="put right what a crash left",
        does="Put right what a crash left, and bring back one that was set aside.",
    ),
    "recycle": Verb(
        call=ControlPlane.recycle,
        summary="start over, with what waits kept",
        does="Start over with all that waits kept, in its order.",
    ),
    "pause": Verb(
        call=ControlPlane.pause,
        summary="start no run, until it is resumed",
        does="Start no run from now on, whoever has the database; inputs are taken in, and wait.",
    ),
    "resume": Verb(
        call=ControlPlane.resume,
        summary="start runs again",
        does="Let runs be started again, by whoever has the database next.",
    ),
    "retire": Verb(
        call=ControlPlane.retire,
        summary="take no more input",
        does="Take no more input. Nobody runs what waits here, so it is given up.",
        asks="its {pending} waiting inputs are given up, and it takes no more",
    ),
    "stop": Verb(
        call=ControlPlane.stop_runtime,
        summary="give up what waits, until a reset",
        does="Give up what waits; only a reset revives it.",
        asks="its {pending} waiting inputs are given up, and only a reset revives it",
    ),
    "reset": Verb(
        call=ControlPlane.reset,
        summary="give up what waits, and start anew",
        does="Give up what waits, and begin a new epoch.",
        asks="its {pending} waiting inputs are given up, and a new epoch begins",
    ),
    "destroy": Verb(
        call=ControlPlane.destroy,
        summary="give up what waits, for good",
        does="Give up what waits, for good: from then on it is destroyed.",
        asks="its {pending} waiting inputs are given up, and it is gone for good",
    ),
}
"""The calls by name; what each promises in full stands in ``ControlPlane``."""


@frozen(kw_only=True)
class ControlOptions:
    """What the command line says."""

    verb: str
    runtime_id: LogicalRuntimeId
    store: RuntimeStore
    yes: bool
    json: bool


class _OneRuntime:
    """A store whose other runtimes stay where they are: nothing is taken up at the start."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """None."""
        return []


def control(options: ControlOptions) -> ExitStatus:
    """Do it and say what was done. Raises UsageError, NotFoundError and MeerkatError."""
    verb, store = VERBS[options.verb], options.store
    database_of(store)
    try:
        name = str(row_of(store, options.runtime_id).runtime_id)
        if verb.asks is not None and not options.yes and not _asked(options, verb.asks, store):
            say("nothing was done")
            return ExitStatus.TROUBLE
    finally:
        store.close()
    with ControlPlane(cast("RuntimeStore", _OneRuntime(store))) as plane:
        report = verb.call(plane, name)
        state = plane.runtime_state(name)
    _print(options, {} if report is None else json.loads(to_json(report)), str(state))
    return ExitStatus.OK


def _asked(options: ControlOptions, asks: str, store: RuntimeStore) -> bool:
    pending = len(store.load_active_inputs(options.runtime_id))
    named = f"{options.verb} {one_line(str(options.runtime_id))}"
    return agreed(named, asks.format(pending=pending))


def _print(options: ControlOptions, report: dict[str, Any], state: str) -> None:
    if options.json:
        print(json_line({"runtime_id": str(options.runtime_id), "state": state, **report}))
        return
    print(f"{one_line(str(options.runtime_id))} is {state}")
    for name, value in report.items():
        shown = value if isinstance(value, list) else [str(value)]
        for text in shown:
            print(f"{name.replace('_', ' ')}: {one_line(text)}")


# --- the commands -----------------------------------------------------------------------

_COLUMNS: Final = 40


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_runtime(parser)
    add_store(parser)
    add_yes(parser)
    add_json(parser)


def _act(name: str, given: argparse.Namespace) -> ExitStatus:
    return control(
        ControlOptions(
            verb=name,
            runtime_id=given.runtime,
            store=store_of(given),
            yes=given.yes,
            json=given.json,
        )
    )


def _command(name: str, verb: Verb) -> Command:
    text = f"""\
{textwrap.fill(verb.does, _COLUMNS)}

The database must not be in use: while a
process owns it, that one is to do it,
and is named here.

examples:
  meerkat {name} support-1
  meerkat {name} support-1 --yes --json
"""
    return Command(
        name=name,
        operand="RUNTIME",
        summary=verb.summary,
        help=text,
        add_options=_add_options,
        act=partial(_act, name),
    )


BY_HAND: Final = tuple(_command(name, verb) for name, verb in VERBS.items())
