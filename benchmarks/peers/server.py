"""PostgreSQL as the peers have it: one server for a run, a database for each measurement.

The server's URL is in ``MEERKAT_POSTGRES_URL``, as for the tests. It has to wait for its disk:
fsync, full pages and synchronous commits on, for everybody alike, or nothing is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from peers.base import Peer, Written

from meerkat.testing.postgres_server import URL_VARIABLE

_PID, _PARENT = 0, 2
_USED, _USED_WITH_ENDED = slice(12, 14), slice(12, 16)
"""Where ``_fields`` has them."""

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


class NotDurable(Exception):
    """The server may lose what it has committed."""


def server_url() -> str:
    """Where the server is."""
    return os.environ[URL_VARIABLE]


def settings(url: str) -> Mapping[str, str]:
    """The version, and the settings that make a commit durable; NotDurable for others than on."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = {
            name: str(connection.execute("SELECT current_setting(%s)", (name,)).fetchone()[0])  # type: ignore[index]
            for name in ("server_version", *DURABLE)
        }
    if any(found[name] != "on" for name in DURABLE):
        raise NotDurable(f"the server's settings are {found}")
    return found


def cpu_of_server(backend: int) -> float:
    """Seconds of the processor that a server has used by now, by one of its processes (Linux).

    Those of its processes that have ended are counted with their parent.
    """
    processes = {int(each[_PID]): each for each in map(_fields, _stats()) if each}
    if backend not in processes:  # it is elsewhere
        return 0.0
    parent = int(processes[backend][_PARENT])
    used = processes[parent][_USED_WITH_ENDED] if parent in processes else []
    for each in processes.values():
        if int(each[_PARENT]) == parent:
            used = used + each[_USED]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def _stats() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*/stat")


def _fields(stat: Path) -> list[str]:
    """What /proc says of a process: its number, its name, and so on as in proc(5); [] when gone."""
    try:
        text = stat.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    number, _, rest = text.partition(" (")
    return [number, *rest.rpartition(") ")[2].split()]


def make_database() -> str:
    """The URL of a new database of the server; NotDurable where commits may be lost."""
    settings(server_url())
    name = f"compare_{uuid4().hex}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return urlsplit(server_url())._replace(path=f"/{name}").geturl()


def drop_database(url: str) -> None:
    """Remove a database, whoever has it open."""
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


class PeerOnServer(Peer):
    """A peer that keeps what it has in a database of the server."""

    COMPLETED: ClassVar[str | None]

    def __init__(self, folder: Path, url: str | None = None) -> None:
        super().__init__(folder)
        self.url = make_database() if url is None else url

    def completed(self) -> int | None:
        return self.complete_in(self.url)

    @classmethod
    def complete_in(cls, url: str) -> int | None:
        """How many items are complete by what a database says; None for a peer without such."""
        if cls.COMPLETED is None:
            return None
        with psycopg.connect(url) as connection:
            row = connection.execute(cls.COMPLETED).fetchone()  # type: ignore[arg-type]
        return None if row is None else int(row[0])

    def written(self) -> Written:
        with psycopg.connect(server_url(), autocommit=True) as connection:
            row = connection.execute(
                "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, "
                "(pg_current_wal_lsn() - '0/0')::bigint, pg_backend_pid()"
            ).fetchone()
            assert row is not None  # noqa: S101 - it is one row by what is asked
            commits, log_bytes, backend = row
            return Written(commits, log_bytes, cpu_of_server(backend))

    def remove(self) -> None:
        drop_database(self.url)
