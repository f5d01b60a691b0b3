"""Builders: stores to copy, of every kind, and what holds of a copy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from meerkat import InputPhase
from meerkat.conversation import AppendMessages, ReplaceSnapshot
from meerkat.identifiers import RuntimeEpochId
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import MemoryStore, PostgresStore, RuntimeStore, SqliteStore
from meerkat.store.copy_digest import digest_of_runtime
from meerkat.store.copy_report import CopyReport
from meerkat.store.copyable import CopyableStore
from meerkat.store.copying import copy_store
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_agreement import reads
from meerkat.testing.store_rows import (
    R1,
    R2,
    batch,
    ended,
    live,
    prompt,
    receipt,
    row_of,
)

EPOCHS = tuple(RuntimeEpochId(UUID(int=number)) for number in (1, 2))
KINDS = ("memory", "sqlite", "postgres")
Made = Callable[[str], CopyableStore]
NUMBERS = count()


def store_of(kind: str, folder: Path) -> CopyableStore:
    number = next(NUMBERS)
    stores: dict[str, Callable[[], CopyableStore]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SqliteStore(folder / f"{number}.db"),
        "postgres": lambda: PostgresStore(postgres_url(), schema=f"c{uuid4().hex}"),
    }
    return stores[kind]()


def copied(source: RuntimeStore, target: RuntimeStore, **options: Any) -> CopyReport:
    """Copy, and let go of the copy again."""
    try:
        return copy_store(source, target, **options)
    finally:
        target.close()


def same(source: CopyableStore, target: CopyableStore) -> None:
    """Every read, and every row as it is stored."""
    theirs = reads(target)
    for asked, read in reads(source).items():
        assert theirs[asked] == read, asked


def filled(store: RuntimeStore) -> None:
    """Something of everything, in a store that nobody owns."""
    phases = (InputPhase.CONSUMED, InputPhase.QUEUED, InputPhase.ABANDONED, InputPhase.ACCEPTED)
    rows = [row_of(prompt(n, "ab"[n] if n < 2 else None), phases[n % 4], n) for n in range(8)]
    changes = (AppendMessages(0, 1, b'["n"]'), AppendMessages(1, 2, b'["m","\xc3\xa4"]'))
    gone = [ended(number + 1, EPOCHS[1], live(number)) for number in range(3)]
    store.commit(
        batch(
            R1,
            *rows,
            receipts=(receipt(0), receipt(2**64 - 1)),
            begun=(live(7),),
            operations=(*gone, ended(1, EPOCHS[0], live(4))),
            session=(*changes, ReplaceSnapshot(b"\0\xff")),
            epoch_id=EPOCHS[0],
            set_aside="it failed \0 too often",
            paused=True,
            next_admission_sequence=2**64 - 1,
            silent_intents=frozenset("xy"),
        )
    )
    store.commit(batch(R2, fence=7, state=RuntimeState.STOPPED, registered=False))
    store.close()


def everything(store: CopyableStore) -> list[object]:
    """Every runtime with its digests."""
    rows = store.list_runtimes().items
    return [(row, digest_of_runtime(store, row)) for row in rows]
