"""``meerkat events --follow``: what happens in the process that has a database, as it happens.

Events live in its memory, and it tells them on its page. When the page cannot be reached any more
the next owner's is looked for, and what nobody can tell is said.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from actors.cli.looking import database_of
from actors.cli.outputs import say
from actors.cli.owner import OwnerGone, OwnerPage, page_of
from actors.cli.sent_events import SentEvent
from actors.cli.signals import as_ctrl_c
from actors.cli.status import ExitStatus, OwnerError, UsageError
from actors.cli.texts import json_line, one_line
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore
from meerkat.store.ownership import OwnerLock, StoreInUse

AGAIN_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""The waits before a page is looked for again: half a minute, in which a service is restarted."""

PATH: Final = "/api/events"


@frozen(kw_only=True)
class FollowOptions:
    """What the command line says."""

    runtime_id: LogicalRuntimeId | None
    store: RuntimeStore
    after: str | None
    json: bool


def follow(options: FollowOptions) -> ExitStatus:
    """Print it until the owner stops. Raises UsageError, NotFoundError and OwnerError."""
    place = _first_place(options)
    with closing(options.store) as store:
        database = database_of(store)
    try:
        with as_ctrl_c():
            for sent in _told(database, options.runtime_id, place):
                print(_line(sent, as_json=options.json), flush=True)
    except KeyboardInterrupt:  # whoever ends it knows; nothing is left undone
        return ExitStatus.INTERRUPTED
    say("its owner has stopped")
    return ExitStatus.OK


def _first_place(options: FollowOptions) -> str | None:
    after = options.after
    if after is None:
        return None
    if options.runtime_id is None:
        raise UsageError("--after: the events of all runtimes have no number: name a RUNTIME")
    if not after.isascii() or not after.isdigit():
        raise UsageError(f"--after: {after[:120]!r} is no number of an event")
    return after


def _told(
    database: Path, runtime_id: LogicalRuntimeId | None, place: str | None
) -> Iterator[SentEvent]:
    """What is told until the owner stops, by whichever process has the database."""
    page = _page(database)
    while True:
        try:
            for sent in page.events(PATH, place, id=runtime_id):
                if sent.kind == "end":
                    return
                place = sent.id or place
                yield sent
        except OwnerGone as gone:
            page = _next_page(database, gone)
            if runtime_id is None or place is None:
                say("what happened meanwhile is not known")


def _page(database: Path) -> OwnerPage:
    """The page of the owner; OwnerError names one that serves none."""
    with suppress(OwnerGone):  # who left that file has it no more
        page = _reached(database)
        if page is not None:
            return page
    lock = OwnerLock(database)
    try:
        lock.acquire()
    except StoreInUse as in_use:
        raise OwnerError(f"{in_use.text}, which serves no page: {_TO_DO}") from in_use
    finally:
        lock.release()
    raise OwnerError(f"{database}: no process has it, so nothing happens; {_INSTEAD}")


_INSTEAD: Final = "without --follow the histories of inputs are printed"
_TO_DO: Final = f"have it serve one (actors.dashboard.serve); {_INSTEAD}"


def _next_page(database: Path, gone: OwnerGone) -> OwnerPage:
    """The page that is there once its owner is back, or another; OwnerGone when none comes."""
    say(f"{gone}; looking for it again")
    for wait_s in AGAIN_S:
        threading.Event().wait(wait_s)
        try:
            page = _reached(database)
            if page is not None:
                return page
        except OwnerGone as error:
            gone = error
    raise gone


def _reached(database: Path) -> OwnerPage | None:
    """The page that the file names, which has answered; None where no file names one."""
    page = page_of(database)
    if page is not None:
        page.overview()
    return page


# --- one line of it ---------------------------------------------------------------------


def _line(sent: SentEvent, *, as_json: bool) -> str:
    document = json.loads(sent.data)
    if as_json:
        return json_line({"gap": document} if sent.kind == "gap" else document)
    return _LINES.get(sent.kind, _of_event)(document)


def _of_event(document: dict[str, Any]) -> str:
    said = dict(document["event"]["data"])
    shown = [
        document["timestamp"],
        document["runtime_id"],
        str(document["sequence"]),
        said.pop("code"),
        *(f"{name}={value}" for name, value in said.items()),
    ]
    return one_line(" ".join(shown))


def _of_gap(gap: dict[str, Any]) -> str:
    return (
        f"a gap: what came after {gap['requested']}, up to {gap['dropped_through']}, "
        "is not known any more"
    )


_LINES: Final[dict[str, Callable[[dict[str, Any]], str]]] = {"gap": _of_gap, "event": _of_event}
