"""What a second process brings on one PostgreSQL: ours, and DBOS with its queue.

    python benchmarks/two_processes.py [--items N] [--rounds N] [--only "NAME;NAME"]

One interpreter has one lock, so a process uses little more than one core: whoever wants more
from a machine starts another. The sessions are dealt to the processes, and the time is taken
until the last of all items is complete: once each submits the items of its own without waiting,
and once 8 callers, dealt to the processes too, wait for each of theirs. Ours share the store by
leases (``Sharing``); those of DBOS serve one queue with a partition a session, and either may
take an item. A plane that has the store alone stands beside them. Rows follow each other in
turn, each on a database of its own, and each is checked: as many items complete as were given,
by what is stored, none run twice, and every session's in order where one caller gives them.

The server is one for all, durable, made for the measurement; ``MEERKAT_POSTGRES_URL`` takes its
place. DBOS needs the extra ``bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from compare_jobs import CALLERS, NotWhatItSays, by_session, callers
from compare_report import TIMES
from peers.base import SESSIONS, Item, make_items
from peers.server import PeerOnServer, drop_database, make_database

from meerkat.testing.postgres_server import URL_VARIABLE, PostgresServer

WARM_UP: Final = 200
JOBS: Final = {"pipelined": 1.0, "callers": 0.3}
"""What is done, and with what share of the items."""


@dataclass(frozen=True)
class Row:
    """So many processes of one kind, and their share of the items: a slow one is given fewer."""

    place: str
    processes: int
    share: float = 1.0


ALONE: Final = "meerkat"
ROWS: Final = {
    ALONE: Row("peers.meerkat_postgres_peer:MeerkatOnPostgres", 1),
    "meerkat, sharing": Row("peers.meerkat_postgres_peer:MeerkatThatShares", 1),
    "meerkat, two processes": Row("peers.meerkat_postgres_peer:MeerkatThatShares", 2),
    "DBOS": Row("peers.dbos_postgres_peer:DbosQueue", 1, 0.3),
    "DBOS, two processes": Row("peers.dbos_postgres_peer:DbosQueue", 2, 0.3),
}

OURS: Final = [name for name in ROWS if name.startswith("meerkat")]
THEIRS: Final = [name for name in ROWS if name not in OURS]


# --- a process --------------------------------------------------------------------------


class Dated(list[str]):
    """What was run, and when: a session's items need not all be run by one process."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[int] = []

    def append(self, text: str) -> None:
        """Note that it is run now."""
        self.at.append(time.monotonic_ns())
        super().append(text)


def child(options: argparse.Namespace) -> None:
    """Work off the items of some sessions, when told to."""
    row = ROWS[options.child]
    module, _, name = row.place.partition(":")
    given = make_items(0, WARM_UP + options.items, SESSIONS)
    items = [each for each in given if _is_own(each, options)]
    warm_up = [each for each in items if each.number < WARM_UP]
    with tempfile.TemporaryDirectory() as folder:
        peer: PeerOnServer = getattr(import_module(module), name)(Path(folder), options.database)
        peer.ran = ran = Dated()
        peer.pipelined(warm_up)
        _say("ready")
        sys.stdin.readline()
        spent = time.process_time()
        if options.job == "callers":
            callers([peer], items[len(warm_up) :], CALLERS // row.processes)
        else:
            peer.pipelined(items[len(warm_up) :])
        _say(time.process_time() - spent)
        sys.stdin.readline()  # until all have done: this one may run what another has given
        _say(list(zip(ran.at, ran, strict=True)))
        peer.close()


def _is_own(item: Item, options: argparse.Namespace) -> bool:
    return int(item.session.rpartition("-")[2]) % ROWS[options.child].processes == options.number


def _say(document: Any) -> None:
    print(json.dumps(document), flush=True)


@contextmanager
def processes(
    name: str, job: str, items: int, database: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """Those of a row, warm; they end with the block."""
    command = [sys.executable, __file__, "--child", name, "--job", job, "--items", str(items)]
    with ExitStack() as stack:
        found = []
        for number in range(ROWS[name].processes):
            own = [*command, "--database", database, "--number", str(number)]
            process = subprocess.Popen(  # noqa: S603 - this very script
                own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            found.append(stack.enter_context(process))
            if number == 0:
                _heard(process)  # which has made the tables
        for process in found[1:]:
            _heard(process)
        yield found


def _heard(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None  # noqa: S101 - for the type checker
    return json.loads(process.stdout.readline())


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker
    process.stdin.write("go on\n")
    process.stdin.flush()


# --- a measurement ----------------------------------------------------------------------


def measure(name: str, job: str, items: int) -> dict[str, float]:
    """Items a second of a row, and the processor time an item of its processes; checked."""
    row = ROWS[name]
    module, _, kind = row.place.partition(":")
    peer: type[PeerOnServer] = getattr(import_module(module), kind)
    url = make_database()
    try:
        with processes(name, job, items, url) as found:
            began = time.perf_counter()
            for process in found:
                _tell(process)
            spent = sum(_heard(process) for process in found)
            seconds = time.perf_counter() - began
            for process in found:
                _tell(process)
            heard = [run for process in found for run in _heard(process)]
        complete = peer.complete_in(url)
    finally:
        drop_database(url)
    given = make_items(0, WARM_UP + items, SESSIONS)
    ran = [text for _, text in sorted(heard)]
    offered = [item.text for item in given]
    if sorted(ran) != sorted(offered):
        raise NotWhatItSays(f"{len(given)} items, {len(ran)} runs of {len(set(ran))}")
    if job == "pipelined" and by_session(ran, given) != by_session(offered, given):
        raise NotWhatItSays("a session's items were run out of their order")
    if complete != len(given):
        raise NotWhatItSays(f"{len(given)} items, {complete} complete in what is stored")
    return {"rate": items / seconds, "cpu_us": spent / items * 1e6}


def show(rounds: Sequence[dict[str, dict[str, float]]]) -> None:
    """Print the table."""
    print("| | items/s | range | to the plane alone | µs of CPU an item |\n|---|---|---|---|---|")
    for name in rounds[0]:
        rates = [each[name]["rate"] for each in rounds]
        ratios = [each[name]["rate"] / each[ALONE]["rate"] for each in rounds]
        cpu = statistics.median(each[name]["cpu_us"] for each in rounds)
        print(
            f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} to {max(rates):,.0f} "
            f"| {statistics.median(ratios):.2f}{TIMES} | {cpu:,.0f} |"
        )
    theirs = [name for name in THEIRS if name in rounds[0]]
    for ours in (name for name in OURS if theirs and name in rounds[0]):
        found = [each[ours]["rate"] / max(each[name]["rate"] for name in theirs) for each in rounds]
        ratio = f"{statistics.median(found):.2f}{TIMES} ({min(found):.2f} to {max(found):.2f})"
        print(f"\n{ours}, to the faster of {' and '.join(theirs)}: {ratio}")


def main() -> None:
    """Measure and print, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="some rows, by name; the plane alone is always there")
    parser.add_argument("--child", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--database", help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options)
        return
    chosen = [ALONE, *(options.only or ";".join(ROWS)).split(";")]
    with ExitStack() as stack:
        if URL_VARIABLE not in os.environ:
            os.environ[URL_VARIABLE] = stack.enter_context(PostgresServer()).url
        for job, share in JOBS.items():
            rounds = []
            for _ in range(options.rounds):
                of_round = {}
                for name in dict.fromkeys(chosen):
                    items = int(options.items * share * ROWS[name].share)
                    of_round[name] = measure(name, job, items)
                rounds.append(of_round)
            print(f"\n**{job}**\n")
            show(rounds)


if __name__ == "__main__":
    main()
