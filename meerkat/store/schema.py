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

_OPERATIONS_OF_AN_EPOCH = (
    """
CREATE TABLE operations_of_an_epoch (
    runtime_id TEXT NOT NULL REFERENCES runtimes (runtime_id),
    epoch_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    operation_id TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (runtime_id, epoch_id, seq),
    UNIQUE (runtime_id, epoch_id, operation_id)
) STRICT, WITHOUT ROWID
""",
    "INSERT INTO operations_of_an_epoch SELECT * FROM operations",
    "DROP TABLE operations",
    "ALTER TABLE operations_of_an_epoch RENAME TO operations",
)
# An operation is known by its id within an epoch: the next one's registry knows none of them.

_FEED_WATERMARK_COLUMN = """
ALTER TABLE runtimes ADD COLUMN feed_watermark INTEGER NOT NULL DEFAULT 0
"""

_LIVE_OPERATIONS_COLUMN = """
ALTER TABLE runtimes ADD COLUMN live_operations INTEGER NOT NULL DEFAULT 0
"""

_HAS_NEWS_COLUMN = "ALTER TABLE runtimes ADD COLUMN has_news INTEGER NOT NULL DEFAULT 0"

_FEED_FILLED = """
UPDATE runtimes SET has_news = 1, feed_watermark = coalesce(
    (SELECT max(seq) FROM operations AS o
     WHERE o.runtime_id = runtimes.runtime_id AND o.epoch_id = runtimes.epoch_id AND seq < 0),
    (SELECT max(seq) FROM operations AS o
     WHERE o.runtime_id = runtimes.runtime_id AND o.epoch_id = runtimes.epoch_id))
WHERE EXISTS (SELECT 1 FROM operations AS o
    WHERE o.runtime_id = runtimes.runtime_id AND o.epoch_id = runtimes.epoch_id)
"""
# The upper half of the unsigned numbers is stored below zero, and comes last all the same.
# How far the feed was read stands inside ``cursors``, which may be unreadable: one row must
# not fail the whole file, and a notice too many is harmless.

_RUNTIMES_WITH_NEWS = """
CREATE INDEX runtimes_with_news ON runtimes (runtime_id) WHERE has_news <> 0
"""

_BEGUN_OPERATIONS = """
CREATE TABLE begun_operations (
    runtime_id TEXT NOT NULL REFERENCES runtimes (runtime_id),
    epoch_id TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (runtime_id, epoch_id, operation_id)
) STRICT, WITHOUT ROWID
"""

_OPERATIONS_END = """
CREATE TRIGGER operations_end AFTER INSERT ON operations
BEGIN
    DELETE FROM begun_operations
    WHERE runtime_id = NEW.runtime_id AND epoch_id = NEW.epoch_id
        AND operation_id = NEW.operation_id;
END
"""

_INPUTS_BY_ID_FIRST = "CREATE UNIQUE INDEX inputs_by_id ON inputs (input_id, runtime_id)"
# Ids are made in the order of time: new ones of all runtimes share a page. With the runtime
# first, each commit would write a page for each runtime, once every runtime has a long past.

_INPUTS_OF_A_RUNTIME = """
CREATE UNIQUE INDEX inputs_by_key ON inputs (runtime_id, idempotency_key)
"""
# Those without a key are in it too: it is the one index that lists a runtime's inputs.

_INPUTS_WHOLE = """
CREATE INDEX inputs_whole ON inputs ((payload IS NULL))
WHERE outcome IS NOT NULL AND payload IS NOT NULL
"""
# What has ended and was not cut down yet, in the order of arrival: all have the same value,
# and behind it the rowid, so that new entries share a page.

_SET_ASIDE_COLUMN = "ALTER TABLE runtimes ADD COLUMN set_aside TEXT"

_PAUSED_COLUMN = "ALTER TABLE runtimes ADD COLUMN paused INTEGER NOT NULL DEFAULT 0"

_INPUTS_ABANDONED = """
CREATE INDEX inputs_abandoned ON inputs (runtime_id) WHERE outcome = 'abandoned'
"""
# Those of a runtime lie in the order of arrival, as the rowid is behind the runtime. From this
# schema on an input may name what brought it about, which earlier code refuses to read.

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
    2: (
        _FEED_WATERMARK_COLUMN,
        _LIVE_OPERATIONS_COLUMN,
        _HAS_NEWS_COLUMN,
        _FEED_FILLED,
        _RUNTIMES_WITH_NEWS,
        *_OPERATIONS_OF_AN_EPOCH,
        _BEGUN_OPERATIONS,
        _OPERATIONS_END,
    ),
    3: (
        "DROP INDEX inputs_by_id",
        "DROP INDEX inputs_by_key",
        _INPUTS_BY_ID_FIRST,
        _INPUTS_OF_A_RUNTIME,
        _INPUTS_WHOLE,
    ),
    4: (_SET_ASIDE_COLUMN,),
    5: (_PAUSED_COLUMN,),
    6: (_INPUTS_ABANDONED,),
}
"""version → the statements that lead to it from the version before."""

SCHEMA_VERSION: Final = max(MIGRATIONS)

_RUNTIMES_OF_1 = """
CREATE TEMP VIEW runtimes AS
SELECT runtime_id, session_id, epoch_id, state, fence, registered, next_admission_sequence,
    silent_intents, cursors,
    coalesce(
        (SELECT max(seq) FROM main.operations AS o
         WHERE o.runtime_id = r.runtime_id AND o.epoch_id = r.epoch_id AND seq < 0),
        (SELECT max(seq) FROM main.operations AS o
         WHERE o.runtime_id = r.runtime_id AND o.epoch_id = r.epoch_id),
        0) AS feed_watermark,
    0 AS live_operations,
    EXISTS (SELECT 1 FROM main.operations AS o
        WHERE o.runtime_id = r.runtime_id AND o.epoch_id = r.epoch_id) AS has_news,
    NULL AS set_aside, 0 AS paused
FROM main.runtimes AS r
"""

_RUNTIMES_OF_3 = """
CREATE TEMP VIEW runtimes AS
SELECT runtime_id, session_id, epoch_id, state, fence, registered, next_admission_sequence,
    silent_intents, cursors, feed_watermark, live_operations, has_news, NULL AS set_aside,
    0 AS paused
FROM main.runtimes
"""

_RUNTIMES_OF_4 = """
CREATE TEMP VIEW runtimes AS
SELECT runtime_id, session_id, epoch_id, state, fence, registered, next_admission_sequence,
    silent_intents, cursors, feed_watermark, live_operations, has_news, set_aside, 0 AS paused
FROM main.runtimes
"""

_BEGUN_OPERATIONS_OF_1 = """
CREATE TEMP VIEW begun_operations AS
SELECT '' AS runtime_id, '' AS epoch_id, '' AS operation_id, '' AS record WHERE 0
"""

READ_AS_OURS: Final[Mapping[int, tuple[str, ...]]] = {
    1: (_RUNTIMES_OF_1, _BEGUN_OPERATIONS_OF_1),
    2: (_RUNTIMES_OF_3,),
    3: (_RUNTIMES_OF_3,),
    4: (_RUNTIMES_OF_4,),
}
"""older version → what gives a reader's connection, and it alone, the tables of our schema.

A reader must not migrate. It sees what the migration would have written: a driver that has
loaded its row from here writes it back whole, once its writer has migrated the file. Each
names its columns, so that it holds when the file is migrated beneath it.
"""
