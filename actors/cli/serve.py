"""``meerkat serve``: the page of a database, until it is told to end.

With an executor this process owns the database and works what waits, as any host does; without
one it only looks, beside whoever owns it, or nobody. What the page is and who gets in stands in
``actors.dashboard``.
"""

from __future__ import annotations

import argparse
import os
import sys
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from attrs import frozen

from actors.access import access_path
from actors.cli.grammar import Command, add_json, add_store, store_of
from actors.cli.looking import database_of, sqlite_of
from actors.cli.news import Interrupted, NewsQueue
from actors.cli.outputs import say
from actors.cli.performing import Performer, add_executors, performer_of
from actors.cli.run import STOP_TIMEOUT_S
from actors.cli.serving import HOST, PageOptions, check_address, dashboard, page, port, token_in
from actors.cli.signals import stopping_signals
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line, one_line
from actors.control_plane import ControlPlane
from actors.stopping import ShutdownReport
from actors.watching import NoticeKind, RuntimeWatch
from meerkat.store import RuntimeStore

if TYPE_CHECKING:
    from actors.dashboard import Served

TICK_S: Final = 1.0
"""How long to wait for a signal before looking at the plane."""


@frozen(kw_only=True)
class ServeOptions:
    """What the command line says."""

    store: RuntimeStore
    executor: str | None
    command: str | None
    page: PageOptions
    json: bool


def serve(options: ServeOptions) -> ExitStatus:
    """Serve it until a signal comes. Raises UsageError and StoreError before it begins."""
    sqlite_of(options.store)
    dashboard()
    performer = performer_of(options.executor, options.command)
    news: NewsQueue = SimpleQueue()
    with stopping_signals(news, performer.kill_all if performer else lambda: None):
        if performer is None:
            return _look(options, news)
        return _own(options, performer, news)


def _look(options: ServeOptions, news: NewsQueue) -> ExitStatus:
    """Show what is stored, whoever owns it."""
    database_of(options.store)
    try:
        options.store.page_summaries(limit=1)  # what cannot be read is told now, not by a page
        with page(options.page, options.store) as served:
            _say_address(options, served)
            return _wait(news, None)
    finally:
        options.store.close()


def _own(options: ServeOptions, performer: Performer, news: NewsQueue) -> ExitStatus:
    """Work what waits, and show it."""
    check_address(options.page)
    plane = ControlPlane(options.store, performer.executor).start()
    try:
        with plane.watch() as watch, page(options.page, plane) as served:
            _say_address(options, served)
            status = _wait(news, watch)
    finally:
        report = plane.stop(timeout=STOP_TIMEOUT_S)
        performer.kill_all()
    _say_end(report)
    return status


def _wait(news: NewsQueue, watch: RuntimeWatch | None) -> ExitStatus:
    """Wait for a signal, and say meanwhile what a person should look at."""
    while True:
        try:
            found = news.get(timeout=TICK_S)
        except Empty:
            pass
        else:
            if isinstance(found, Interrupted):
                say("stopping; once more ends it at once")
                return ExitStatus.INTERRUPTED
        if watch is None:
            continue
        while (notice := watch.next_within(0)) is not None:
            if notice.kind is NoticeKind.SET_ASIDE:
                say(f"{notice.runtime_id} is set aside: {one_line(notice.reason or 'it failed')}")
        if watch.closed:
            return ExitStatus.STORE


def _say_end(report: ShutdownReport) -> None:
    if report.failure is not None:
        say(f"it ended by itself: {one_line(report.failure)}")
    counted = {
        "runs in hand ended": report.runs_ended,
        "gave way": report.runs_cancelled,
        "were left": report.runs_left,
        "runtimes have work for the next start": report.runtimes_with_work,
    }
    told = [f"{number} {what}" for what, number in counted.items() if number]
    say(f"stopped: {', '.join(told) or 'nothing was in hand, and nothing waits'}")


def _say_address(options: ServeOptions, served: Served) -> None:
    """Say it once; the token only to a person, or where nothing else would tell it."""
    file = access_path(database_of(options.store))
    told = file if options.executor or options.command else None
    if options.json:
        token = {} if told else {"token": served.token}
        where = None if told is None else str(told)
        document = {"url": served.url, "pid": os.getpid(), "token_file": where, **token}
        print(json_line(document), flush=True)
    elif sys.stdout.isatty() or told is None:
        print(served.url_with_token, flush=True)
    else:
        print(served.url, flush=True)
        say(f"open {served.url_with_token}" if _is_seen() else f"its token is in {told}")
    if not options.json:
        say("Ctrl-C ends it")


def _is_seen() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


# --- the command ------------------------------------------------------------------------


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_executors(parser, without="it only looks")
    parser.add_argument(
        "--host", default=HOST, help="the address to serve at (default: %(default)s)"
    )
    parser.add_argument(
        "--port", metavar="N", type=port, default=0, help="the port (default: one that is free)"
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        default=[],
        help="a name that it is asked for by, beyond this machine; may be given again",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        dest="token",
        type=token_in,
        help="what opens it, 16 characters or more (default: one that is made)",
    )
    parser.add_argument(
        "--allow-actions", action="store_true", help="have the page act, and not only show"
    )
    add_json(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return serve(
        ServeOptions(
            store=store_of(given),
            executor=given.executor,
            command=given.command,
            page=PageOptions(
                host=given.host,
                port=given.port,
                names=tuple(given.name),
                allow_actions=given.allow_actions,
                token=given.token,
            ),
            json=given.json,
        )
    )


SERVE: Final = Command(
    name="serve",
    summary="serve the page of a store",
    help="""\
Serve the page of a database, to this
machine alone, and print its address
with the token that opens it. With an
executor it owns the database and works
what waits; without one it only looks.
It needs meerkat-runtime[dashboard].

examples:
  meerkat serve
  meerkat serve --port 8600 \\
    --executor my_agent:answer
  meerkat serve --allow-actions

""",
    add_options=_add_options,
    act=_act,
)
