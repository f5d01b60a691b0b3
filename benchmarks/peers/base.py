"""What every peer offers to be measured, and the items it is offered.

A peer is opened in a fresh folder. Its three verbs are the three things a caller can want:
everything at once, one item and its end, one item and its acceptance. Each item is a call
of its own, as callers who know nothing of each other would make it: whether items share a
commit is up to the peer.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

SESSIONS = 100
TEXT_BYTES = 500
REPLY = "noted"
WINDOW = SESSIONS  # items a queue holds at once: one for each session


@dataclass(frozen=True)
class Item:
    """One input: 500 bytes of JSON for one of the sessions."""

    number: int
    session: str
    text: str


@dataclass(frozen=True)
class Written:
    """What a server has written by now."""

    commits: int
    """Transactions that wrote: each waits for the disk, alone or with those beside it."""
    log_bytes: int
    cpu_s: float
    """Processor time of all its processes; 0 for a server on another machine."""

    def since(self, before: Written, items: int) -> dict[str, float]:
        """For each of so many items."""
        return {
            "commits": (self.commits - before.commits) / items,
            "log_bytes": (self.log_bytes - before.log_bytes) / items,
            "server_cpu_s": (self.cpu_s - before.cpu_s) / items,
        }


def make_items(start: int, count: int, sessions: int) -> list[Item]:
    """Items with texts that differ, dealt to the sessions in turn."""
    items = []
    for number in range(start, start + count):
        session = f"session-{number % sessions}"
        document = {"number": number, "session": session, "content": ""}
        document["content"] = "x" * (TEXT_BYTES - len(json.dumps(document)))
        items.append(Item(number, session, json.dumps(document)))
    return items


class Peer(ABC):
    """Accepts items, runs them, and keeps that they are complete."""

    FILE: ClassVar[str] = "peer.db"
    COMPLETED: ClassVar[str | None] = None
    """SQL that counts the complete items in the file; None for a peer that has none."""
    RUNS: ClassVar[bool] = True
    """False for one that only accepts; then COMPLETED counts what it has accepted."""
    ORDERS: ClassVar[bool] = False
    """Does it promise to run a session's items in the order in which they were offered?"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / self.FILE
        self.ran: list[str] = []

    def answer(self, text: str) -> str:
        """What an item is run for: next to nothing, and kept to be checked."""
        self.ran.append(text)
        return REPLY

    def completed(self) -> int | None:
        """How many items are complete by what is stored; None for a peer that stores nothing."""
        if self.COMPLETED is None:
            return None
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as connection:
            (complete,) = connection.execute(self.COMPLETED).fetchone()
        return int(complete)

    def written(self) -> Written | None:
        """What the server of the peer has written by now; None for one without a server."""
        return None

    def remove(self) -> None:  # noqa: B027 - a folder is removed by who made it
        """Remove what was stored, once it has been looked at."""

    @abstractmethod
    def pipelined(self, items: Sequence[Item]) -> None:
        """Accept, run and complete all of them; nobody waits for a single one."""

    def call(self, item: Item) -> None:
        """Submit one and wait until it is complete. Thread-safe."""
        raise NotImplementedError

    def ingest_and_wait(self, item: Item) -> None:
        """Wait until it is accepted, and then until it is complete."""
        self.call(item)

    def accept(self, item: Item) -> Any:
        """Have one accepted, durably; what :meth:`settle` needs to complete it."""
        raise NotImplementedError

    def settle(self, accepted: Any) -> None:  # noqa: B027 - accepting may be all there is
        """Complete what was accepted, before the next is offered."""

    def close(self) -> None:  # noqa: B027 - some hold nothing
        """Let go of every file and thread."""


class QueuePeer(Peer):
    """A queue without workers of its own: whoever calls takes items out and runs them.

    That spares these peers the way to another thread and back, and the polling their own
    workers would do: measured, it is the fastest way to use each of them.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ends: dict[str, threading.Event] = {}

    @abstractmethod
    def put(self, text: str) -> None:
        """Accept: durable on return."""

    @abstractmethod
    def work(self) -> str:
        """Take one out, run it, complete it; its text."""

    def pipelined(self, items: Sequence[Item]) -> None:
        for window in windows(items, WINDOW):
            for item in window:
                self.put(item.text)
            for _ in window:
                self.work()

    def call(self, item: Item) -> None:
        end = self._ends[item.text] = threading.Event()
        self.put(item.text)
        self._ends.pop(self.work()).set()  # perhaps another caller's item
        end.wait()

    def accept(self, item: Item) -> None:
        self.put(item.text)

    def settle(self, accepted: Any) -> None:  # noqa: ARG002 - it is the one that waits
        self.work()


def windows(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in stretches of this size, the last one as long as it is."""
    rest = iter(items)
    while window := list(islice(rest, size)):
        yield window
