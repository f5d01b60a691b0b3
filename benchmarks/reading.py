"""What does it cost to look? How long the page's listings take, and what it takes from the plane.

    python benchmarks/reading.py [--inputs N] [--sessions N] [--items N] [--rounds N]
                                 [--folder FOLDER]

A database is filled with N (1,000,000) inputs over N (10,000) sessions, ten of each session
waiting. Every listing of the page is asked for over HTTP, again and again, from another process
than the page's, and its median and longest time printed in ms: while nobody has the database,
while its owner works, in the page's own process, and the same with full collections as seldom as
docs/explanation/scale.md advises: one goes through everything an owner has in hand, which is some
millions of objects here, and nothing in the process goes on meanwhile, the page included.

Then each round works the same number of inputs off over 100 sessions of a database of its own,
submitted without waiting, in a process of its own: once alone, and once with the page open as a
browser has it: the stream of figures, one runtime's events, and every two seconds the runtimes
and that runtime with its inputs and receipts. Which of the two comes first changes from round to
round. The ratio of each round is taken, and their median printed: of wall time, and of CPU time,
which says the same on a busy machine. It needs the extra ``dashboard``.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from attrs import evolve
from long_past import PAYLOAD_BYTES_MAX, fill, warm_up
from throughput import answer, work_off

from actors import ControlPlane
from actors.dashboard import serve
from meerkat import PromptInput
from meerkat.admission import encode_input
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputState, queue_accepted
from meerkat.policy import DEFAULT_POLICY
from meerkat.store import Batch, InputRow, RuntimeRow, SqliteStore

WAITING: Final = 10
"""Inputs of each session that have not ended."""

SAMPLES: Final = 50
"""How often each listing is asked for."""

POLL_S: Final = 2.0
WORKED_SESSIONS: Final = 100
ALONE, OPEN, SELDOM = "alone", "open", "seldom"
MIDDLE: Final = "session-5"
"""A name in the middle of all the others."""

WATCHED: Final = "worked-0"
"""The runtime that the browser looks at."""

LISTINGS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "overview": ("overview", {}),
    "runtimes by name": ("runtimes", {}),
    "runtimes by name, from the middle": ("runtimes", {"after": f"0/{MIDDLE}"}),
    "runtimes, most inputs waiting": ("runtimes", {"sort": "pending"}),
    "runtimes, longest waiting": ("runtimes", {"sort": "oldest"}),
    "runtimes in a state that none is in": ("runtimes", {"state": "stopped"}),
    "one runtime": ("runtime", {"id": MIDDLE}),
    "its inputs that wait": ("inputs", {"id": MIDDLE}),
    "its inputs that have ended": ("inputs", {"id": MIDDLE, "ended": "1"}),
    "its receipts": ("receipts", {"id": MIDDLE}),
    "what its session said": ("messages", {"id": MIDDLE}),
}


class Page:
    """The page of another process, over one connection."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, route: str, query: dict[str, str]) -> http.client.HTTPResponse:
        """The answer, of which nothing has been read."""
        target = f"/api/{route}?{urlencode(query)}"
        self._connection.request("GET", target, headers=self._headers)
        answered = self._connection.getresponse()
        if answered.status != http.client.OK:
            raise RuntimeError(f"{target}: {answered.status} {answered.read()!r}")
        return answered

    def read(self, route: str, query: dict[str, str]) -> float:
        """Read a document whole; how many ms that took."""
        began = time.perf_counter()
        self.get(route, query).read()
        return (time.perf_counter() - began) * 1_000


# --- what the database holds ------------------------------------------------------------


def fill_waiting(path: Path, each: int) -> None:
    """Have so many inputs wait in every session, paused, so that they do."""
    store, at = SqliteStore(path), datetime.now(UTC) - timedelta(hours=1)
    offered = PromptInput("message 1234567")
    payload = encode_input(offered, PAYLOAD_BYTES_MAX)
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    store.acquire()
    after = None
    while True:
        page = store.list_runtimes(after=after, limit=500)
        batches = []
        for row in page.items:
            first, rows = row.next_admission_sequence, []
            for number in range(first, first + each):
                state = InputState.of(evolve(offered, id=type(offered.id).new()), at)
                state = queue_accepted(state, at, policy=decision, sequence=number)
                rows.append(InputRow(state, payload_of(payload, offered, state)))
            batches.append(_batch(row, tuple(rows)))
        if any(store.commit_many(batches)):
            raise RuntimeError("a batch was refused")
        if page.next is None:
            break
        after = page.next
    store.close()


def payload_of(payload: bytes, offered: PromptInput, state: InputState) -> bytes:
    """The payload of another input that says the same."""
    return payload.replace(str(offered.id).encode(), str(state.input_id).encode())


def _batch(row: RuntimeRow, rows: tuple[InputRow, ...]) -> Batch:
    number = row.next_admission_sequence + len(rows)
    runtime = evolve(row, fence=row.fence + 1, next_admission_sequence=number, paused=True)
    return Batch(runtime=runtime, expected_fence=row.fence, inputs=rows)


# --- a process that serves --------------------------------------------------------------


def child(options: argparse.Namespace) -> None:
    """Serve a page, work when told to, and say how fast."""
    store = SqliteStore(options.database)
    if options.items == 0:
        with serve(store) as served:
            _say({"url": served.url, "token": served.token})
            sys.stdin.readline()
        return
    if options.kind == SELDOM:
        gc.set_threshold(700, 10, 1_000)
    known = [LogicalRuntimeId(f"worked-{number}") for number in range(WORKED_SESSIONS)]
    with ControlPlane(store, answer) as plane:
        warm_up(plane, known)
        with serve(plane) if options.kind != ALONE else nullcontext() as served:
            _say({} if served is None else {"url": served.url, "token": served.token})
            sys.stdin.readline()
            began, spent = time.perf_counter(), time.process_time()
            work_off(plane, known, options.items, time.time_ns())
            seconds, spent = time.perf_counter() - began, time.process_time() - spent
            _say({"second": options.items / seconds, "CPU second": options.items / spent})
            sys.stdin.readline()


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


@contextmanager
def in_child(database: Path, items: int, kind: str) -> Iterator[subprocess.Popen[str]]:
    """The process of it, until the end of the block."""
    command = [sys.executable, __file__, "--database", str(database)]
    command += ["--items", str(items), "--kind", kind]
    with subprocess.Popen(  # noqa: S603 - this very script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        _tell(process)


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker
    process.stdin.write("go on\n")
    process.stdin.flush()


def _heard(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None  # noqa: S101 - for the type checker
    return json.loads(process.stdout.readline())


# --- the listings -----------------------------------------------------------------------


def time_listings(page: Page) -> dict[str, list[float]]:
    """How long each took, again and again, all in turn."""
    found: dict[str, list[float]] = {name: [] for name in LISTINGS}
    for _ in range(SAMPLES):
        for name, (route, query) in LISTINGS.items():
            found[name].append(page.read(route, query))
    return found


def listings_of_a_store(database: Path) -> dict[str, list[float]]:
    """The listings while nobody has the database."""
    with in_child(database, 0, OPEN) as process:
        return time_listings(Page(**_heard(process)))


def listings_of_an_owner(database: Path, items: int, kind: str) -> dict[str, list[float]]:
    """The listings while the process that serves them works."""
    with in_child(database, items, kind) as process:
        page = Page(**_heard(process))
        _tell(process)
        found = time_listings(page)
        if process.stdout is not None and _heard(process) is None:
            raise RuntimeError("it did not work meanwhile")
        return found


# --- the throughput ---------------------------------------------------------------------


class Browser:
    """What one window does with the page, on threads of this process."""

    def __init__(self, where: dict[str, str]) -> None:
        self._where = where
        self._over = threading.Event()
        self.polls = 0
        self._threads = [
            threading.Thread(target=self._follow, args=("figures", {}), daemon=True),
            threading.Thread(target=self._follow, args=("events", {"id": WATCHED}), daemon=True),
            threading.Thread(target=self._poll, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _follow(self, route: str, query: dict[str, str]) -> None:
        answered = Page(**self._where).get(route, query)
        while not self._over.is_set() and answered.readline():
            pass

    def _poll(self) -> None:
        page = Page(**self._where)
        while not self._over.wait(POLL_S if self.polls else 0):
            for route, query in (
                ("runtimes", {}),
                ("runtime", {"id": WATCHED}),
                ("inputs", {"id": WATCHED}),
                ("inputs", {"id": WATCHED, "ended": "1"}),
                ("receipts", {"id": WATCHED}),
            ):
                page.read(route, query)
            self.polls += 1

    def leave(self) -> None:
        """Look no more."""
        self._over.set()
        self._threads[0].join()


def pace(kind: str, items: int, folder: Path) -> dict[str, float]:
    """Items a second in a database of its own, and a CPU second."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        in_child(Path(name, "new.db"), items, kind) as process,
    ):
        where = _heard(process)
        browser = Browser(where) if where else None
        _tell(process)
        figures: dict[str, float] = _heard(process)
        if browser is not None:
            browser.leave()
            figures["polls"] = browser.polls
        return figures


def show_listings(*measured: dict[str, list[float]]) -> None:
    """Print their times."""
    heads = "   ".join([f"{'median':>8} {'longest':>8}"] * len(measured))
    print(f"{'ms':36} {heads}")
    for name in LISTINGS:
        columns = [
            f"{statistics.median(times[name]):8.1f} {max(times[name]):8.1f}" for times in measured
        ]
        print(f"{name:36} {'   '.join(columns)}")


def show_paces(rounds: Sequence[dict[str, dict[str, float]]]) -> None:
    """Print the ratios."""
    for unit in ("second", "CPU second"):
        alone, looked_at = (
            statistics.median(each[kind][unit] for each in rounds) for kind in (ALONE, OPEN)
        )
        ratios = [each[OPEN][unit] / each[ALONE][unit] for each in rounds]
        print(
            f"items a {unit:10} {alone:9,.0f} {looked_at:9,.0f} {statistics.median(ratios):6.2f} "
            f"(from {min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(f"polls a round: {statistics.median(each[OPEN]['polls'] for each in rounds):.0f}")


def main() -> None:
    """Fill, measure and print, or do one measurement as a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--database", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=(ALONE, OPEN, SELDOM), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.database is not None:
        child(options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        filled = folder / f"reading-{options.sessions}-{options.inputs}.db"
        if not filled.exists():
            fill(filled, options.sessions, options.inputs - WAITING * options.sessions)
            fill_waiting(filled, WAITING)
        print(f"{options.sessions:,} sessions, {options.inputs:,} inputs\n")
        idle = listings_of_a_store(filled)
        busy = [listings_of_an_owner(filled, options.items, kind) for kind in (OPEN, SELDOM)]
        show_listings(idle, *busy)
        print(
            f"\n{options.items:,} items over {WORKED_SESSIONS} sessions: alone, page open, ratio\n"
        )
        rounds = []
        for number in range(options.rounds):
            kinds = (ALONE, OPEN) if number % 2 == 0 else (OPEN, ALONE)
            rounds.append({kind: pace(kind, options.items, folder) for kind in kinds})
        show_paces(rounds)


if __name__ == "__main__":
    main()
