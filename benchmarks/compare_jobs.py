"""The four jobs of compare.py, and one measurement of one of them, checked.

A measurement is made in a process of its own: it opens one peer in a fresh folder, warms it
up, takes the time, and then makes sure that the figure stands for what it says: each item
was run once, in order where that is promised, as many are complete by what is stored, and
every SQLite connection that was open has WAL and full sync, or the server waits for its disk.
Where syncs are made slower, it has met some.
"""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from peers.base import SESSIONS, Item, Peer, make_items
from peers.catalogue import ENTRIES, Entry
from slower_syncs import syncs_made_slower

CALLERS: Final = 8
PAUSE_S: Final = 0.002  # between two of those that find everything idle
ITEMS_MIN: Final = 200
WARM_UP_MAX: Final = 200
FULL_SYNC: Final = {("wal", 2), ("wal", 3)}  # FULL and EXTRA


class NotWhatItSays(Exception):
    """The measurement does not stand for what its row says."""


def pipelined(peers: Sequence[Peer], items: Sequence[Item]) -> list[float]:
    """Items a second, all offered without waiting."""
    (peer,) = peers
    began = time.perf_counter()
    peer.pipelined(items)
    return [len(items) / (time.perf_counter() - began)]


def callers(peers: Sequence[Peer], items: Sequence[Item], number: int = CALLERS) -> list[float]:
    """Items a second of 8 callers; each waits for the end of one and goes on."""
    (peer,) = peers
    failures: list[Exception] = []
    start = threading.Barrier(number + 1)

    def caller(own: Sequence[Item]) -> None:
        start.wait()
        try:
            for item in own:
                peer.call(item)
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that counts
            failures.append(error)

    threads = [
        threading.Thread(target=caller, args=(items[n::number],), daemon=True)
        for n in range(number)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    return [len(items) / seconds]


def one(peers: Sequence[Peer], items: Sequence[Item]) -> list[float]:
    """Items a second of one caller over one session."""
    (peer,) = peers
    began = time.perf_counter()
    for item in items:
        peer.ingest_and_wait(item)
    return [len(items) / (time.perf_counter() - began)]


def ingest(peers: Sequence[Peer], items: Sequence[Item]) -> list[float]:
    """Milliseconds until an item is durably accepted, with nothing else to do; the median.

    The peers take turns, item by item: what the disk and the machine do meets them alike.
    """
    taken: list[list[float]] = [[] for _ in peers]
    for item in items:
        for peer, of_peer in zip(peers, taken, strict=True):
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            accepted = peer.accept(item)
            of_peer.append(time.perf_counter() - began)
            peer.settle(accepted)
    return [statistics.median(of_peer) * 1000 for of_peer in taken]


@dataclass(frozen=True)
class Job:
    """One of the tables."""

    title: str
    unit: str
    items: int
    sessions: int
    run: Callable[[Sequence[Peer], Sequence[Item]], list[float]]
    """A figure for the peer, and for the one beside it."""
    beside: str | None = None
    """The entry that is measured along with each, in the same process."""
    in_order: bool = True
    """Is a session's order that of the items? Not where two callers share a session."""


JOBS: Final = {
    "pipelined": Job(
        "accept + run + complete, pipelined over 100 sessions",
        "items/s",
        10_000,
        SESSIONS,
        pipelined,
    ),
    "callers": Job(
        "8 synchronous callers, 100 sessions", "items/s", 5_000, SESSIONS, callers, in_order=False
    ),
    "one": Job("one session, one synchronous caller", "items/s", 2_500, 1, one),
    "ingest": Job(
        "durable ingest, everything idle: median", "ms", 300, SESSIONS, ingest, "raw-commit"
    ),
}


def items_of(job: str, entry: Entry, scale: float) -> int:
    """How many items a peer is given; latencies are as many for all."""
    share = 1.0 if job == "ingest" else entry.share
    floor = min(ITEMS_MIN, int(ITEMS_MIN * scale) or 1)
    return max(floor, int(JOBS[job].items * share * scale))


def measure(entry: Entry, job: str, count: int, folder: Path) -> dict[str, Any]:
    """The figure of one peer at one job, and what was checked of it."""
    watched = watch_connections()
    peers: list[Peer] = [entry.load()(folder)]
    if (beside := JOBS[job].beside) is not None:
        (folder / beside).mkdir()
        peers.append(ENTRIES[beside].load()(folder / beside))
    warm_up = min(WARM_UP_MAX, count)
    items = make_items(0, warm_up + count, JOBS[job].sessions)
    try:
        JOBS[job].run(peers, items[:warm_up])
        synced, before, cpu_s = syncs_made_slower(), peers[0].written(), time.process_time()
        value, *of_beside = JOBS[job].run(peers, items[warm_up:])
        after, cpu_s = peers[0].written(), time.process_time() - cpu_s
        syncs = None if synced is None else (syncs_made_slower() or 0) - synced
        durability = sorted(set(modes(watched, folder)))
    finally:
        for peer in peers:
            peer.close()
    if not (entry.weaker or entry.server) and not (durability and FULL_SYNC.issuperset(durability)):
        raise NotWhatItSays(f"journal_mode and synchronous are {durability}")
    for peer in peers:
        check_ran(peer, items, in_order=JOBS[job].in_order)
        peer.remove()
    if syncs == 0 and not entry.weaker:
        raise NotWhatItSays("no sync of it was made slower")
    figure = {"value": value, "items": count, "durability": durability, "cpu_s": cpu_s / count}
    if syncs is not None:
        figure["syncs"] = syncs / count
    if before is not None and after is not None:
        figure |= after.since(before, count)
        if job == "one" and figure["commits"] < 1:
            raise NotWhatItSays(f"an item its caller waits for is {figure['commits']} commits")
    return figure | ({"beside": of_beside[0]} if of_beside else {})


def check_ran(peer: Peer, items: Sequence[Item], *, in_order: bool = True) -> None:
    """Make sure that each item was run once, and that what is stored says so."""
    if sorted(peer.ran) != sorted(item.text for item in items if peer.RUNS):
        raise NotWhatItSays(f"{len(items)} items, {len(peer.ran)} runs of {len(set(peer.ran))}")
    offered = [item.text for item in items]
    if in_order and peer.ORDERS and by_session(peer.ran, items) != by_session(offered, items):
        raise NotWhatItSays("a session's items were run out of their order")
    complete = peer.completed()
    if complete not in (None, len(items)):
        raise NotWhatItSays(f"{len(items)} items, {complete} complete in what is stored")


def by_session(texts: Sequence[str], items: Sequence[Item]) -> dict[str, list[str]]:
    """Texts in their order, each with its session."""
    sessions = {item.text: item.session for item in items}
    found: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        found[sessions[text]].append(text)
    return found


def watch_connections() -> list[sqlite3.Connection]:
    """Every SQLite connection that this process opens from now on, as it opens them."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def watched(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        opened.append(connection)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = watched  # type: ignore[assignment]
    return opened


def modes(connections: Sequence[sqlite3.Connection], folder: Path) -> list[tuple[str, int]]:
    """(journal_mode, synchronous) of those that are open on a file of this folder."""
    found = []
    for connection in connections:
        try:
            where = connection.execute("PRAGMA database_list").fetchone()[2]
            if where and Path(where).resolve().is_relative_to(folder.resolve()):
                (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
                (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
                found.append((str(journal), int(synchronous)))
        except sqlite3.ProgrammingError:  # closed, or a connection of one thread alone
            continue
    return found
