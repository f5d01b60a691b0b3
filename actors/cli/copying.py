"""``meerkat copy``: a store moved to another one, while its owner goes on.

What it says on standard error is for who waits; the answer is what is the same in both stores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_json, positive, store_at
from actors.cli.looking import looking_at
from actors.cli.outputs import say
from actors.cli.status import ExitStatus, UsageError
from actors.cli.texts import counted, json_line, one_line
from actors.clock import Clock, SystemClock
from meerkat.errors import StoreError
from meerkat.store import MemoryStore, RuntimeStore
from meerkat.store.copy_digest import CopyPart
from meerkat.store.copy_report import CopyReport
from meerkat.store.copying import PASSES, Told, copy_store, verify_copy
from meerkat.store.ownership import StoreInUse

NAMES_MAX: Final = 10
"""Runtimes that are named in a line of ours; with ``--json`` all of them are."""

LINE_EVERY_S: Final = 5.0
"""How often it is said that it goes on."""


@frozen(kw_only=True)
class CopyOptions:
    """What the command line says."""

    source: RuntimeStore
    target: RuntimeStore
    passes: int
    verify: bool
    json: bool


def copy(options: CopyOptions) -> ExitStatus:
    """Copy, or compare, and say what came of it. Raises StoreError."""
    with ExitStack() as opened:
        source = opened.enter_context(looking_at(options.source))
        target = opened.enter_context(_target(options))
        told = _GoesOn(SystemClock()).told
        if options.verify:
            report = verify_copy(source, target, told=told)
        else:
            report = _copied(source, target, options.passes, told)
    if options.json:
        print(json_line(_document(report)))
    else:
        _print(report)
    sys.stdout.flush()  # before what is said about it
    _explain(report)
    return _status(report)


@contextmanager
def _target(options: CopyOptions) -> Iterator[RuntimeStore]:
    """What is copied into: it need not be there, unless it is only looked at."""
    if options.verify:
        with looking_at(options.target) as target:
            yield target
    else:
        try:
            yield options.target
        finally:
            options.target.close()


def _copied(source: RuntimeStore, target: RuntimeStore, passes: int, told: Told) -> CopyReport:
    try:
        return copy_store(source, target, passes=passes, told=told)
    except StoreInUse as in_use:  # whoever has the source is in the report
        text = f"{in_use.text}: stop it, as nobody else may write there during a copy"
        raise StoreError(text) from in_use


class _GoesOn:
    """Says now and then how far it is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()

    def told(self, number: int, done: int) -> None:
        """A pass has done one more."""
        if self._clock.monotonic() - self._last >= LINE_EVERY_S:
            self._last = self._clock.monotonic()
            many = counted(done, "runtime")
            say(f"pass {number}: {many}" if number else f"compared: {many}")


def _status(report: CopyReport) -> ExitStatus:
    if report.owner is not None:
        return ExitStatus.STORE
    sound = report.is_finished and not report.unreadable
    return ExitStatus.OK if sound else ExitStatus.TROUBLE


def _print(report: CopyReport) -> None:
    if report.owner is not None:
        held = f"and held back there: {counted(report.copied, 'runtime')}"
        print(f"brought by pass {report.passes}, {held}")
        return
    rows = [(count, part) for part, count in report.counts.items() if part is not CopyPart.RUNTIME]
    each = [counted(count, str(part).removesuffix("s")) for count, part in rows]
    print(f"the same in both: {', '.join([counted(report.verified, 'runtime'), *each])}")
    if report.digest:
        print(f"sha256 {report.digest}")


def _explain(report: CopyReport) -> None:
    """Say what is wrong, and what to do about it."""
    for name, reason in report.unreadable.items():
        where = f"runtime {one_line(name)} is not copied"
        say(f"{where}: {one_line(reason)}; meerkat doctor says what to do")
    for each in report.differences:
        parts = ", ".join(map(str, each.parts))
        say(f"runtime {one_line(each.runtime)} is not the same in both: {parts}")
    if report.missing:
        named = ", ".join(map(one_line, report.missing[:NAMES_MAX]))
        more = ", ..." if len(report.missing) > NAMES_MAX else ""
        say(f"still to come: {counted(len(report.missing), 'runtime')}: {named}{more}")
    if report.owner is not None:
        say(f"not finished: {one_line(report.owner)}")
        say("stop the process that owns FROM, then run this again")


def _document(report: CopyReport) -> dict[str, object]:
    return {
        "finished": report.is_finished,
        "copied": report.copied,
        "passes": report.passes,
        "verified": report.verified,
        "counts": {str(part): count for part, count in report.counts.items()},
        "digest": report.digest or None,
        "owner": report.owner,
        "missing": list(report.missing),
        "differences": [
            {"runtime_id": each.runtime, "parts": [str(part) for part in each.parts]}
            for each in report.differences
        ],
        "unreadable": [
            {"runtime_id": name, "found": found} for name, found in report.unreadable.items()
        ],
    }


# --- the command ------------------------------------------------------------------------


def _store(name: str, url: str) -> RuntimeStore:
    store = store_at(url, said_by=name)
    if isinstance(store, MemoryStore):
        raise UsageError(f"{name}: a store in memory is gone with this command")
    return store


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FROM", help="the URL of the store that is copied")
    parser.add_argument("target", metavar="TO", help="the URL of the copy")
    parser.add_argument("--verify", action="store_true", help="compare only; copy nothing")
    parser.add_argument(
        "--passes",
        metavar="N",
        type=positive,
        default=PASSES,
        help="go over what has moved N times at most (default: %(default)s)",
    )
    add_json(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return copy(
        CopyOptions(
            source=_store("FROM", given.source),
            target=_store("TO", given.target),
            passes=given.passes,
            verify=given.verify,
            json=given.json,
        )
    )


COPY: Final = Command(
    name="copy",
    operand="FROM TO",
    summary="move a store to another one",
    help="""\
Copy all that a store keeps into another
one, verified by digests. FROM is only
read, and may be in use: stop its owner
when this says so, and run it again. TO
is empty, or an earlier copy; nothing
goes on in it before all is there.

examples:
  meerkat copy sqlite:///sessions.db \\
    postgresql://db.example/sessions
  meerkat copy --verify --json \\
    sqlite:///old.db sqlite:///new.db

""",
    add_options=_add_options,
    act=_act,
)
