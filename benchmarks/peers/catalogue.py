"""Every peer by name: where it is, what it needs, how it is set to full sync.

A table, and the one place that knows them all; a peer's module is imported by whoever
measures it, and so only where its library is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Final

ALL_JOBS: Final = ("pipelined", "callers", "one", "ingest")
THROUGHPUT: Final = ALL_JOBS[:3]
OURS: Final = "meerkat"
OURS_ON_SERVER: Final = "meerkat-postgres"


@dataclass(frozen=True)
class Entry:
    """One row of the tables."""

    label: str
    place: str
    """``module:class`` under ``peers``."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Module to import: name of the distribution; empty for what the project has."""
    jobs: tuple[str, ...] = ALL_JOBS
    share: float = 1.0
    """Of a job's items, so that a slow one takes no longer than the others."""
    full_sync: str = ""
    """How it is set to WAL and full sync; empty for what is not as durable."""
    weaker: str = ""
    """What it may lose; empty for what is as durable as ours."""
    plotted: str = ""
    """Its label in the plot, if a shorter one does there."""
    server: bool = False
    """Does it keep what it has in PostgreSQL? Such entries are compared among themselves."""

    @property
    def missing(self) -> bool:
        """Is a library of it not installed?"""
        try:
            return any(find_spec(module) is None for module in self.needs)
        except ModuleNotFoundError:  # not even the package that the module is in
            return True

    @property
    def versions(self) -> dict[str, str]:
        """The installed version of each distribution."""
        found = {}
        for distribution in self.needs.values():
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:
                found[distribution] = "not installed"
        return found

    def load(self) -> Any:
        """The class; ImportError where its library is missing."""
        module, name = self.place.split(":")
        return getattr(importlib.import_module(f"peers.{module}"), name)


PSYCOPG: Final = {"psycopg": "psycopg"}
DBOS: Final = {"dbos": "dbos", "sqlalchemy": "SQLAlchemy", **PSYCOPG}
ON_SERVER: Final = "the server's `fsync`, `full_page_writes`, `synchronous_commit`"
LITEQUEUE: Final = {"litequeue": "litequeue"}
LANGGRAPH: Final = {
    "langgraph.graph": "langgraph",
    "langgraph.checkpoint.sqlite": "langgraph-checkpoint-sqlite",
}

ENTRIES: Final[Mapping[str, Entry]] = {
    OURS: Entry(
        "**meerkat**", "meerkat_peer:MeerkatPeer", full_sync="its only setting", plotted="meerkat"
    ),
    "litequeue": Entry(
        "litequeue",
        "litequeue_peer:LiteQueuePeer",
        LITEQUEUE,
        share=0.3,
        full_sync="`PRAGMA synchronous = FULL` on its public `conn`; it opens with NORMAL",
    ),
    "litequeue-worker": Entry(
        "litequeue, run by a thread of its own",
        "litequeue_peer:LiteQueueWithWorker",
        LITEQUEUE,
        jobs=("pipelined", "callers", "one"),
        share=0.3,
        full_sync="as above",
        plotted="litequeue, own thread",
    ),
    "persist-queue": Entry(
        "persist-queue, SQLiteAckQueue",
        "persistqueue_peer:PersistQueuePeer",
        {"persistqueue": "persist-queue"},
        share=0.3,
        full_sync="as it comes",
        plotted="persist-queue",
    ),
    "huey": Entry(
        "huey, SqliteHuey",
        "huey_peer:HueyPeer",
        {"huey": "huey"},
        share=0.3,
        full_sync="`fsync=True`",
        plotted="huey",
    ),
    "eventsourcing": Entry(
        "eventsourcing, SQLite recorder",
        "eventsourcing_peer:EventSourcingPeer",
        {"eventsourcing": "eventsourcing"},
        share=0.3,
        full_sync="as it comes",
        plotted="eventsourcing",
    ),
    "dbos": Entry(
        "DBOS, SQLite system database",
        "dbos_peer:DbosPeer",
        {"dbos": "dbos", "sqlalchemy": "SQLAlchemy"},
        share=0.12,
        full_sync="both pragmas on each connection of its engine; it keeps a rollback journal",
        plotted="DBOS",
    ),
    "langgraph": Entry(
        "LangGraph, SQLite saver",
        "langgraph_peer:LangGraphPeer",
        LANGGRAPH,
        jobs=("pipelined", "callers", "one"),
        share=0.06,
        full_sync='`durability="sync"`, and the pragma on the connection its saver is given',
        plotted="LangGraph",
    ),
    "raw-1": Entry(
        "raw SQLite, the two rows of 1 item, a commit each",
        "raw_sqlite:RawSqlite",
        jobs=("pipelined", "callers", "one"),
        share=0.4,
        full_sync="both pragmas",
        plotted="raw SQLite, 1 a commit",
    ),
    "raw-500": Entry(
        "raw SQLite, the same rows, 500 items a commit",
        "raw_sqlite:RawSqlite500",
        jobs=("pipelined",),
        share=3.0,
        full_sync="both pragmas",
        plotted="raw SQLite, 500 a commit",
    ),
    "raw-commit": Entry(
        "raw SQLite, one row of 500 bytes in one commit",
        "raw_sqlite:RawCommit",
        jobs=(),  # measured beside each of the others
        full_sync="both pragmas",
    ),
    "litequeue-normal": Entry(
        "litequeue as it comes",
        "litequeue_peer:LiteQueueAsShipped",
        LITEQUEUE,
        jobs=("pipelined",),
        weaker="synchronous NORMAL: a power cut takes the last commits",
    ),
    "langgraph-exit": Entry(
        'LangGraph, `durability="exit"`',
        "langgraph_peer:LangGraphAtExit",
        LANGGRAPH,
        jobs=("pipelined",),
        share=0.1,
        weaker="an item is on disk only once it has run",
    ),
    "meerkat-memory": Entry(
        "meerkat, MemoryStore",
        "meerkat_peer:MeerkatInMemory",
        jobs=("pipelined",),
        weaker="nothing is on disk",
    ),
    "pykka": Entry(
        "bare Pykka, ThreadingActor",
        "pykka_peer:PykkaPeer",
        jobs=("pipelined", "callers", "one"),
        share=2.0,
        weaker="nothing is on disk, nothing is kept",
    ),
    OURS_ON_SERVER: Entry(
        "**meerkat, PostgreSQL**",
        "meerkat_postgres_peer:MeerkatOnPostgres",
        PSYCOPG,
        jobs=THROUGHPUT,
        full_sync=ON_SERVER,
        server=True,
    ),
    "dbos-queue": Entry(
        "DBOS, queue with a partition for each session",
        "dbos_postgres_peer:DbosQueue",
        DBOS,
        jobs=THROUGHPUT,
        share=0.12,
        full_sync=ON_SERVER,
        server=True,
    ),
    "dbos-queue-step": Entry(
        "DBOS, the same, the work in a step",
        "dbos_postgres_peer:DbosQueueStep",
        DBOS,
        jobs=THROUGHPUT,
        share=0.12,
        full_sync=ON_SERVER,
        server=True,
    ),
    "dbos-direct": Entry(
        "DBOS, no queue, no order",
        "dbos_postgres_peer:DbosDirect",
        DBOS,
        jobs=THROUGHPUT,
        share=0.12,
        full_sync=ON_SERVER,
        server=True,
    ),
    "raw-postgres-1": Entry(
        "raw PostgreSQL, the two rows of 1 item, a commit each",
        "raw_postgres:RawPostgres",
        PSYCOPG,
        jobs=THROUGHPUT,
        share=0.4,
        full_sync=ON_SERVER,
        server=True,
    ),
    "raw-postgres-500": Entry(
        "raw PostgreSQL, the same rows, 500 items a commit",
        "raw_postgres:RawPostgres500",
        PSYCOPG,
        jobs=("pipelined",),
        share=3.0,
        full_sync=ON_SERVER,
        server=True,
    ),
}


@dataclass(frozen=True)
class Comparison:
    """Who is compared with ours, and at what."""

    ours: str
    names: tuple[str, ...]
    jobs: tuple[str, ...]


COMPARISONS: Final[Mapping[str, Comparison]] = {
    "sqlite": Comparison(
        OURS, tuple(name for name, entry in ENTRIES.items() if not entry.server), ALL_JOBS
    ),
    "postgres": Comparison(
        OURS_ON_SERVER,
        (OURS, *(name for name, entry in ENTRIES.items() if entry.server)),
        THROUGHPUT,
    ),
}
"""By ``--store``. Beside PostgreSQL stands ours on SQLite: what it costs to go there."""
