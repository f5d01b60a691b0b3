"""Copy digests: all that a store keeps of a runtime, as a few hashes that another can be held to.

Each is taken over the canonical form of the rows, in an order that every store has, so that two
stores of different makes that keep the same have the same digests. Of what belongs to a runtime
nothing is left out but the notes of operations that had begun in an epoch which is over: nobody
can ask for those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from attrs import frozen

from meerkat.codec import to_json
from meerkat.conversation import SessionSnapshot
from meerkat.identifiers import LogicalRuntimeId
from meerkat.json_values import dump
from meerkat.store.copyable import CopyableStore
from meerkat.store.protocol import Page, RuntimeRow
from meerkat.store.rows import input_columns, operation_columns, receipt_columns, runtime_columns
from meerkat.words import Word

T = TypeVar("T")

ROWS_A_PAGE: Final = 256
"""Rows that are read at a time: as many payloads, of 1 MiB at most, are in memory at once."""


class CopyPart(Word):
    """What of a runtime a digest is about."""

    RUNTIME = "runtime"
    """Its own row."""
    INPUTS = "inputs"
    RECEIPTS = "receipts"
    OPERATIONS = "operations"
    MESSAGES = "messages"
    """The messages of its session, and the opaque bytes."""


@frozen(kw_only=True)
class RuntimeDigest:
    """What a store keeps of one runtime: a SHA-256 in hex for each part, and how many there are.

    It is in as many moments as there are pages: of a runtime that goes on meanwhile it says
    nothing.
    """

    parts: Mapping[CopyPart, str]
    counts: Mapping[CopyPart, int]

    def differs_in(self, other: RuntimeDigest) -> tuple[CopyPart, ...]:
        """The parts that are not the same."""
        return tuple(part for part in CopyPart if self.parts[part] != other.parts[part])


def digest_of_runtime(store: CopyableStore, row: RuntimeRow) -> RuntimeDigest:
    """The digest of the runtime whose row this is. Raises StoreError and RecoveryCorruption."""
    runtime_id = row.runtime_id
    session = store.load_session_snapshot(runtime_id) or SessionSnapshot()
    hashed = {
        CopyPart.RUNTIME: _hashed([dump(list(runtime_columns(row)))]),
        CopyPart.INPUTS: _hashed(
            dump(list(input_columns(runtime_id, each)))
            for each in every(store.page_inputs, runtime_id)
        ),
        CopyPart.RECEIPTS: _hashed(
            dump(list(receipt_columns(runtime_id, each)))
            for each in every(store.page_receipts, runtime_id)
        ),
        CopyPart.OPERATIONS: _hashed(_operations(store, runtime_id)),
        CopyPart.MESSAGES: (_of_session(session), session.message_count),
    }
    return RuntimeDigest(
        parts={part: found for part, (found, _) in hashed.items()},
        counts={part: count for part, (_, count) in hashed.items()},
    )


def _operations(store: CopyableStore, runtime_id: LogicalRuntimeId) -> Iterator[bytes]:
    for row in every(store.page_operations, runtime_id):
        yield dump(list(operation_columns(runtime_id, row)))
    present = store.load_ops_snapshot(runtime_id)
    if present is not None:
        yield from map(to_json, present.live)


def _of_session(session: SessionSnapshot) -> str:
    kept = hashlib.sha256(session.messages)
    kept.update(b"\n" if session.opaque is None else b"\n=" + session.opaque)
    return kept.hexdigest()


def _hashed(rows: Iterable[bytes]) -> tuple[str, int]:
    """The hash of rows, none of which has a line break in it, and their number."""
    total, count = hashlib.sha256(), 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
        total.update(row + b"\n")
    return total.hexdigest(), count


def every(read: Callable[..., Page[T]], *which: object, limit: int = ROWS_A_PAGE) -> Iterator[T]:
    """All of a listing, page by page."""
    page = read(*which, limit=limit)
    yield from page.items
    while page.next is not None:
        page = read(*which, after=page.next, limit=limit)
        yield from page.items
