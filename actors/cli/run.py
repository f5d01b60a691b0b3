"""``meerkat run``: a file of inputs, taken to its end.

This sets things up and puts them away again, whichever way it ends, and says how it ended.
The work itself is the feeder's.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import BinaryIO, Final

from attrs import frozen

from actors.cli.executors import echo
from actors.cli.feeder import Feeder
from actors.cli.grammar import Command, add_store, positive, store_of
from actors.cli.inputs_file import read_lines
from actors.cli.news import ExecutorLeft, Interrupted, NewsQueue
from actors.cli.performing import Performer, add_executors, performer_of
from actors.cli.progress import Progress, progress_on
from actors.cli.serving import PageOptions, check_address, dashboard, page, port
from actors.cli.signals import stopping_signals
from actors.cli.status import ExitStatus, UsageError
from actors.cli.tally import CallsInHand, Count, Tally, counted_executor, counted_store
from actors.cli.texts import json_line
from actors.clock import SystemClock
from actors.control_plane import ControlPlane
from actors.settings import GRACE_S, MAX_CONCURRENT_RUNS
from meerkat.errors import StoreError
from meerkat.store import RuntimeStore, SqliteStore

STOP_TIMEOUT_S: Final = 10.0
"""How long the runs in hand may go on after Ctrl-C: a person is waiting."""

PACKAGE: Final = "actors.cli"
"""What is run where the console script is not installed."""


@frozen(kw_only=True)
class RunOptions:
    """What the command line says."""

    inputs: str
    store: RuntimeStore
    executor: str | None
    command: str | None
    max_concurrent_runs: int
    page: PageOptions | None
    json: bool
    arguments: tuple[str, ...]
    """The command line itself, to say how to go on."""


def run(options: RunOptions) -> ExitStatus:
    """Take the file to its end. Raises UsageError; a store that fails is a status."""
    performer = performer_of(options.executor, options.command) or Performer(executor=echo)
    try:
        file = open(options.inputs, "rb")  # noqa: SIM115, PTH123 - closed by _Job, below
    except OSError as error:
        raise UsageError(f"cannot read {options.inputs}: {error.strerror}") from error
    with file:
        return _Job(options, performer).work(file)


def _program() -> tuple[str, ...]:
    """What this was called as, for a shell."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name != f"{PACKAGE}.__main__":
        return ("meerkat",)
    return (sys.executable, "-m", PACKAGE)


class _Job:
    """One call of ``meerkat run``."""

    def __init__(self, options: RunOptions, performer: Performer) -> None:
        self._options = options
        self._kill_all = performer.kill_all
        self._news: NewsQueue = SimpleQueue()
        self._tally = Tally()
        self._clock = SystemClock()
        self._cut_short = False
        self._store = counted_store(options.store, self._tally, self._news.put)
        self._calls = CallsInHand(self._tally, lambda: self._news.put(ExecutorLeft()))
        self._executor = counted_executor(performer.executor, self._calls)

    def work(self, file: BinaryIO) -> ExitStatus:
        """Do it all; the summary is printed however it ends."""
        began = self._clock.monotonic()
        if self._options.page is not None:
            dashboard()
            check_address(self._options.page)
        plane = ControlPlane(
            self._store,
            self._executor,
            max_concurrent_runs=self._options.max_concurrent_runs,
        )
        with stopping_signals(self._news, self._kill_all):
            plane.start()
            progress = progress_on(sys.stderr, self._clock)
            feeder = Feeder(plane, self._store, self._tally, progress, self._news)
            try:
                with self._page(plane, progress):
                    status = self._feed(feeder, file, progress)
            finally:
                progress.close()
                plane.stop(drain=False, timeout=STOP_TIMEOUT_S)
                self._kill_all()
            feeder.hear_the_rest()
        if self._cut_short:
            self._say_how_to_go_on(feeder, progress)
        elif feeder.bad_lines or self._tally[Count.REJECTED] or self._tally[Count.ABANDONED]:
            status = ExitStatus.TROUBLE
        self._print_summary(feeder, self._clock.monotonic() - began)
        return status

    @contextmanager
    def _page(self, plane: ControlPlane, progress: Progress) -> Iterator[None]:
        """The page that is wanted, if one is; a log is not told a token that a file tells."""
        if self._options.page is None:
            yield
            return
        with page(self._options.page, plane) as served:
            has_file = isinstance(self._options.store, SqliteStore)
            secret = has_file and not sys.stderr.isatty()
            progress.note(f"its page: {served.url if secret else served.url_with_token}")
            yield

    def _feed(self, feeder: Feeder, file: BinaryIO, progress: Progress) -> ExitStatus:
        try:
            feeder.feed(read_lines(file))
        except Interrupted:
            progress.close()
            progress.note(self._waiting_for())
            self._cut_short = True
            return ExitStatus.INTERRUPTED
        except ExecutorLeft:
            progress.close()
            progress.note("the executor takes no more runs")
            self._cut_short = True
            return ExitStatus.TROUBLE
        except StoreError as error:
            progress.close()
            progress.note(str(error))
            self._cut_short = True
            return ExitStatus.STORE
        except OSError as error:
            progress.close()
            progress.note(f"cannot read {self._options.inputs}: {error.strerror}")
            return ExitStatus.TROUBLE
        return ExitStatus.OK

    def _waiting_for(self) -> str:
        in_hand = self._calls.in_hand
        if not in_hand:
            return "stopping"
        runs = "1 run" if in_hand == 1 else f"{in_hand} runs"
        longest = f"{STOP_TIMEOUT_S:g} s, and {GRACE_S:g} s more once they are cancelled"
        return f"stopping: waiting for {runs} to end, at most {longest}; once more ends it at once"

    def _say_how_to_go_on(self, feeder: Feeder, progress: Progress) -> None:
        watched = feeder.watched
        progress.note(f"stopped: {watched.waiting} accepted inputs wait, none is lost")
        again = shlex.join((*_program(), *self._options.arguments))
        progress.note(f"to go on, run the same command again: {again}")

    def _print_summary(self, feeder: Feeder, seconds: float) -> None:
        summary = self._tally.summary(seconds)
        if self._options.json:
            print(json_line(summary))
            return
        for name, value in summary.items():
            print(f"{name:<12} {value:>9}")
        if feeder.bad_lines:
            print(f"{'bad lines':<12} {feeder.bad_lines:>9}")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="INPUTS", help="the file, one JSON document a line")
    add_store(parser)
    add_executors(parser, without="an echo")
    parser.add_argument(
        "--max-concurrent-runs",
        metavar="N",
        type=positive,
        default=MAX_CONCURRENT_RUNS,
        help="runs side by side (default: %(default)s)",
    )
    parser.add_argument(
        "--serve",
        metavar="PORT",
        nargs="?",
        type=port,
        const=0,
        help="serve the page of it meanwhile (default: at a free port)",
    )
    parser.add_argument(
        "--allow-actions", action="store_true", help="have that page act, and not only show"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _page_of(given: argparse.Namespace) -> PageOptions | None:
    if given.serve is not None:
        return PageOptions(port=given.serve, allow_actions=given.allow_actions)
    if given.allow_actions:
        raise UsageError("--allow-actions: of the page of --serve")
    return None


def _act(given: argparse.Namespace) -> ExitStatus:
    return run(
        RunOptions(
            inputs=given.inputs,
            store=store_of(given),
            executor=given.executor,
            command=given.command,
            max_concurrent_runs=given.max_concurrent_runs,
            page=_page_of(given),
            json=given.json,
            arguments=given.arguments,
        )
    )


RUN: Final = Command(
    name="run",
    operand="INPUTS",
    summary="take a file of inputs to its end",
    help="""\
Offer every input of a file to its
runtime, work all of them, and print a
summary. Run again, it accepts nothing
twice and runs nothing twice; stopped or
killed and run again, it does the rest.

A line of the file:
  {"runtime_id": "support-1", "input":
   {"input_type": "prompt",
    "content": "Hi",
    "idempotency_key": "1/0"}}

examples:
  meerkat run inputs.jsonl
  meerkat run inputs.jsonl \\
    --executor my_agent:answer
  meerkat run inputs.jsonl \\
    --command "python agent.py" --json
  meerkat run inputs.jsonl --serve

""",
    add_options=_add_options,
    act=_act,
)
