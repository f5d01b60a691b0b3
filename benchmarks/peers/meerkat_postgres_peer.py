"""Ours over PostgreSQL: the same plane, and another URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.base import Item
from peers.meerkat_peer import MeerkatPeer
from peers.server import PeerOnServer

from actors import ControlPlane
from meerkat.store import PostgresStore, RuntimeStore
from meerkat.store.sharing import Sharing


class MeerkatOnPostgres(MeerkatPeer, PeerOnServer):
    """As the store comes: it has no other setting than durable."""

    COMPLETED = (
        "SELECT least((SELECT count(*) FROM meerkat.inputs WHERE outcome = 'consumed'), "
        "(SELECT sum(jsonb_array_length(contributing_input_ids)) FROM meerkat.receipts))"
    )

    def __init__(self, folder: Path, url: str | None = None) -> None:
        PeerOnServer.__init__(self, folder, url)
        self._open()

    def make_store(self) -> RuntimeStore:
        return PostgresStore(self.url)


class MeerkatThatShares(MeerkatOnPostgres):
    """One of several processes: it has the sessions that it is the first to ask for."""

    def _open(self) -> None:
        store = PostgresStore(self.url, sharing=Sharing())
        self._plane = ControlPlane(store=store, executor=self._run).start()

    def pipelined(self, items: Sequence[Item]) -> None:
        self._plane.register_many({item.session for item in items})
        super().pipelined(items)
