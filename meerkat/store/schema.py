"""The SQLite schema and its migrations, numbered from 1.

A migration is never edited once it has been released: a later schema adds its own. All
that a file lacks are applied in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

APPLICATION_ID: Final = 0x4D4B5254
"""Marks a database file as ours: "MKRT" in ASCII, in SQLite's header."""

SQLITE_VERSION_MIN: Final = (3, 37, 0)
"""STRICT tables came with 3.37.0 (2021-11-27)."""

_RUNTIMES = """
CREATE TABLE runtimes (
    runtime_id TEXT NOT NULL PRIMARY KEY,
    session_id TEXT,
    epoch_id TEXT,
    state TEXT NOT NULL,
    fence INTEGER NOT NULL,
    registered INTEGER NOT NULL,
    next_admission_sequence INTEGER NOT NULL,
    silent_intents TEXT NOT NULL,
    cursors TEXT NOT NULL
) STRICT
"""

_INPUTS = """
CREATE TABLE inputs (
    runtime_id TEXT NOT NULL REFERENCES runtimes (runtime_id),
    input_id TEXT NOT NULL,
    admission_sequence INTEGER,
    idempotency_key TEXT,
    phase TEXT NOT NULL,
    outcome TEXT,
    state TEXT NOT NULL,
    payload TEXT
) STRICT
"""

_INPUTS_BY_ID = "CREATE UNIQUE INDEX inputs_by_id ON inputs (runtime_id, input_id)"

_INPUTS_BY_KEY = """
CREATE UNIQUE INDEX inputs_by_key ON inputs (runtime_id, idempotency_key)
WHERE idempotency_key IS NOT NULL
"""

_INPUTS_ACTIVE = """
CREATE INDEX inputs_active ON inputs (runtime_id, admission_sequence) WHERE outcome IS NULL
"""

_RECEIPTS = """
CREATE TABLE receipts (
    runtime_id TEXT NOT NULL REFERENCES runtimes (runtime_id),
    run_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    boundary TEXT NOT NULL,
    contributing_input_ids TEXT NOT NULL,
    conversation_digest TEXT,
    message_count INTEGER NOT NULL,
    PRIMARY KEY (runtime_id, run_id, sequence)
) STRICT, WITHOUT ROWID
"""

_MESSAGES = """
CREATE TABLE messages (
    runtime_id TEXT NOT NULL REFERENCES runtimes (runtime_id),
    position INTEGER NOT NULL,
    count INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (runtime_id, position)
) STRICT
"""

_MESSAGES_EXTEND = """
CREATE TRIGGER messages_extend BEFORE INSERT ON messages
WHEN NEW.position IS NOT coalesce(
    (SELECT position + count FROM messages
     WHERE runtime_id = NEW.runtime_id ORDER BY position DESC LIMIT 1), 0)
BEGIN
    SELECT RAISE(ABORT, 'messages do not extend the committed ones');
END
"""

_SNAPSHOTS = """
CREATE TABLE snapshots (
    runtime_id TEXT NOT NULL PRIMARY KEY REFERENCES runtimes (runtime_id),
    body BLOB NOT NULL
) STRICT
"""

_OPERATIONS = """
CREATE TABLE operations (
    runtime_id TEXT NOT NULL REFERENCES runtimes (runtime_id),
    epoch_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    operation_id TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (runtime_id, epoch_id, seq),
    UNIQUE (runtime_id, operation_id)
) STRICT, WITHOUT ROWID
"""

MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {
    1: (
        _RUNTIMES,
        _INPUTS,
        _INPUTS_BY_ID,
        _INPUTS_BY_KEY,
        _INPUTS_ACTIVE,
        _RECEIPTS,
        _MESSAGES,
        _MESSAGES_EXTEND,
        _SNAPSHOTS,
        _OPERATIONS,
    ),
}
"""version → the statements that lead to it from the version before."""

SCHEMA_VERSION: Final = max(MIGRATIONS)
