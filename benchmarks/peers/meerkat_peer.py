"""Ours: a control plane over SQLite, whose executor answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peers.base import SESSIONS, Item, Peer

from actors import ControlPlane
from meerkat import AcceptOutcome, PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

PATIENCE_S = 60.0


class MeerkatPeer(Peer):
    """Full sync is SqliteStore's own setting; weaker ones it does not take."""

    COMPLETED = (
        "SELECT min((SELECT count(*) FROM inputs WHERE outcome = 'consumed'), "
        "(SELECT sum(json_array_length(contributing_input_ids)) FROM receipts))"
    )
    ORDERS = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._open()

    def _open(self) -> None:
        self._plane = ControlPlane(store=self.make_store(), executor=self._run).start()
        self._plane.register_many(f"session-{number}" for number in range(SESSIONS))

    def make_store(self) -> RuntimeStore:
        return SqliteStore(self.file)

    def _run(self, _context: RunContext, primitive: StagedInput) -> RunOutput:
        reply = self.answer(primitive.text)
        said = {"role": "user", "content": primitive.text}
        return RunOutput(append=[said, {"role": "assistant", "content": reply}], result=reply)

    def pipelined(self, items: Sequence[Item]) -> None:
        submitted = [self._plane.submit(item.session, offered(item)) for item in items]
        for submission in submitted:
            submission.completion.result(PATIENCE_S)

    def call(self, item: Item) -> None:
        self._plane.submit(item.session, offered(item)).completion.result(PATIENCE_S)

    def ingest_and_wait(self, item: Item) -> None:
        submission = self._plane.submit(item.session, offered(item))
        submission.accepted.result(PATIENCE_S)
        submission.completion.result(PATIENCE_S)

    def accept(self, item: Item) -> tuple[str, AcceptOutcome]:
        return item.session, self._plane.ingest(item.session, offered(item))

    def settle(self, accepted: tuple[str, AcceptOutcome]) -> None:
        self._plane.completion(*accepted).result(PATIENCE_S)

    def close(self) -> None:
        self._plane.stop()


class MeerkatInMemory(MeerkatPeer):
    """The same without a disk."""

    COMPLETED = None

    def make_store(self) -> RuntimeStore:
        return MemoryStore()


def offered(item: Item) -> PromptInput:
    """The input with a key, as a host that may offer it twice gives it one."""
    return PromptInput(item.text, idempotency_key=f"key-{item.number}")
