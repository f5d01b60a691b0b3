"""The statements of a commit in PostgreSQL: one for each table, whatever the number of rows.

Rows come as one array a column. Where a row may be refused the statement does not fail, it
answers with the runtimes of the rows that it did not take: a unique key, or a compare-and-set,
has the last word, whatever the isolation level, and one bad row tells of itself among many.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from attrs import frozen

from meerkat.store.postgres_schema import ADMITTED
from meerkat.store.sql_reads import ReadStatements

_RUNTIME: Final = (
    "runtime_id text, session_id uuid, epoch_id uuid, state text, fence bigint, "
    "registered bigint, next_admission_sequence bigint, silent_intents text, cursors text, "
    "feed_watermark bigint, live_operations bigint, has_news bigint, set_aside bytea, "
    "paused bigint"
)
_INPUT: Final = (
    "runtime_id text, input_id uuid, admission_sequence bigint, idempotency_key bytea, "
    "phase text, outcome text, state text, payload text"
)
INPUT_COLUMNS: Final = _INPUT.count(",") + 1
_RECEIPT: Final = (
    "runtime_id text, run_id uuid, sequence bigint, boundary text, "
    "contributing_input_ids jsonb, conversation_digest text, message_count bigint"
)
_OPERATION: Final = "runtime_id text, epoch_id uuid, seq bigint, operation_id uuid, record text"
_BEGUN: Final = "runtime_id text, epoch_id uuid, operation_id uuid, record text"
_MESSAGES: Final = "runtime_id text, position bigint, count bigint, body text"
_FOLLOWS: Final = "runtime_id text, follows bigint"
_SNAPSHOT: Final = "runtime_id text, body bytea"


@frozen
class ForRows:
    """A statement for many rows, and what types their columns are of."""

    text: str
    types: tuple[str, ...]


def _for_rows(columns: str, text: str) -> ForRows:
    return ForRows(text, tuple(column.split()[1] for column in columns.split(", ")))


def _names(columns: str) -> str:
    return ", ".join(column.split()[0] for column in columns.split(", "))


def _given_names(columns: str) -> str:
    return ", ".join(f"given.{name}" for name in _names(columns).split(", "))


def _given(columns: str) -> str:
    """The rows that a statement is given, numbered from 1, as ``given``.

    A function in the list of columns yields one value after the other; behind FROM the server
    would put each of the arrays aside first, which takes longer than a short statement itself.
    """
    arrays = ", ".join(
        f"unnest(%b::{kind}[]) AS {name}"
        for name, kind in (column.split() for column in columns.split(", "))
    )
    return f"(SELECT *, row_number() OVER () AS number FROM (SELECT {arrays}) AS given) AS given"


def _refused(columns: str, writing: str, taken: str = "SELECT runtime_id FROM taken") -> ForRows:
    """Write, and answer with the runtime of each row that was not taken."""
    return _for_rows(
        columns,
        f"WITH given AS (SELECT * FROM {_given(columns)}), {writing} "
        f'SELECT runtime_id COLLATE "C" FROM given EXCEPT ALL ({taken})',
    )


_FLAGS: Final = ("registered", "has_news", "paused")
"""Booleans, which come as 0 and 1."""

_AS_STORED: Final = ", ".join(
    f"{name} <> 0" if name in _FLAGS else name for name in _names(_RUNTIME).split(", ")
)

_ME: Final = "me AS (SELECT %b::bigint AS id)"
"""The owner that writes, NULL for a session without a lease; asked once a statement."""

_I_AM_THERE: Final = (
    "((SELECT id FROM me) IS NULL OR EXISTS (SELECT FROM owners JOIN me ON owners.id = me.id))"
)
LIVING: Final = "owners.lease_until > clock_timestamp()"
_MINE_OR_NOBODYS: Final = (
    "(runtimes.owner_id IS NULL OR runtimes.owner_id = (SELECT id FROM me) OR NOT EXISTS ("
    f"SELECT FROM owners WHERE owners.id = runtimes.owner_id AND {LIVING}))"
)
"""Is a runtime in the hands of no other owner? For one's own, no other row is looked at."""

INSERT_RUNTIMES: Final = _refused(
    _RUNTIME,
    f"{_ME}, taken AS (INSERT INTO runtimes ({_names(_RUNTIME)}, owner_id) "
    f"SELECT {_AS_STORED}, (SELECT id FROM me) FROM given WHERE {_I_AM_THERE} "
    "ON CONFLICT DO NOTHING RETURNING runtime_id)",
)

_SET: Final = ", ".join(
    f"{name} = given.{name} <> 0" if name in _FLAGS else f"{name} = given.{name}"
    for name in _names(_RUNTIME).split(", ")[1:]
)

UPDATE_RUNTIMES: Final = _refused(
    f"{_RUNTIME}, expected bigint",
    f"{_ME}, taken AS (UPDATE runtimes SET {_SET}, owner_id = (SELECT id FROM me) FROM given "
    "WHERE runtimes.runtime_id = given.runtime_id AND runtimes.fence = given.expected "
    f"AND {_I_AM_THERE} AND {_MINE_OR_NOBODYS} RETURNING runtimes.runtime_id)",
)
# The fence has the last word: where a lease ends, or is renewed, while this looks, two may find
# that a runtime is theirs, and one of them finds its fence moved.

WHOSE: Final = (
    "SELECT runtime_id, owners.name FROM runtimes JOIN owners ON owners.id = runtimes.owner_id "
    "WHERE runtime_id = ANY(%b::text[]) AND owners.id IS DISTINCT FROM %b::bigint "
    f"AND ({LIVING} OR %b::boolean)"
)
"""Those of these runtimes that are in the hands of another owner, or were, and its name."""

IS_THERE: Final = "SELECT EXISTS (SELECT FROM owners WHERE id = %b)"
"""Is an owner there still? Not when another has come under its name."""

PUT_INPUTS: Final = _refused(
    _INPUT,
    "changed AS (UPDATE inputs SET admission_sequence = given.admission_sequence, "
    "phase = given.phase, outcome = given.outcome, state = given.state FROM given "
    "WHERE inputs.input_id = given.input_id AND inputs.runtime_id = given.runtime_id "
    "AND coalesce(inputs.outcome, '') = '' RETURNING inputs.runtime_id), "
    f"added AS (INSERT INTO inputs ({_names(_INPUT)}) SELECT {_names(_INPUT)} FROM given "
    "ORDER BY number ON CONFLICT DO NOTHING RETURNING runtime_id)",
    "SELECT runtime_id FROM changed UNION ALL SELECT runtime_id FROM added",
)
# Both see the table as it was before: what is added is not changed as well, and of what was
# there, nothing is added. What has ended is in neither. That it has not is asked in such a way
# that the index of all that wait does not seem to be the way to it: of a table that is new, a
# plan may be made that goes through the whole of it for every commit from then on.

INSERT_RECEIPTS: Final = _refused(
    _RECEIPT,
    f"taken AS (INSERT INTO receipts ({_names(_RECEIPT)}) SELECT {_names(_RECEIPT)} FROM given "
    "ON CONFLICT DO NOTHING RETURNING runtime_id)",
)

INSERT_OPERATIONS: Final = _refused(
    _OPERATION,
    f"taken AS (INSERT INTO operations ({_names(_OPERATION)}) SELECT {_names(_OPERATION)} "
    "FROM given ORDER BY number ON CONFLICT DO NOTHING "
    "RETURNING runtime_id, epoch_id, operation_id), "
    "noted AS (DELETE FROM begun_operations AS begun USING taken "
    "WHERE begun.runtime_id = taken.runtime_id AND begun.epoch_id = taken.epoch_id "
    "AND begun.operation_id = taken.operation_id)",
)
# The end of an operation takes its note away.

NOTE_BEGUN: Final = _for_rows(
    _BEGUN,
    f"INSERT INTO begun_operations ({_names(_BEGUN)}) SELECT {_names(_BEGUN)} "
    f"FROM {_given(_BEGUN)} WHERE NOT EXISTS (SELECT FROM operations AS ended "
    "WHERE ended.runtime_id = given.runtime_id AND ended.epoch_id = given.epoch_id "
    "AND ended.operation_id = given.operation_id) ORDER BY number ON CONFLICT DO NOTHING",
)
# After the ends: what has ended, with this batch or before it, is not noted again.

MESSAGES_ELSEWHERE: Final = _for_rows(
    _FOLLOWS,
    f"SELECT runtime_id FROM {_given(_FOLLOWS)} WHERE follows <> coalesce("
    "(SELECT position + count FROM messages WHERE messages.runtime_id = given.runtime_id "
    "ORDER BY position DESC LIMIT 1), 0)",
)

DELETE_MESSAGES: Final = _for_rows(
    "runtime_id text", "DELETE FROM messages WHERE runtime_id = ANY(%b::text[])"
)

INSERT_MESSAGES: Final = _refused(
    _MESSAGES,
    f"taken AS (INSERT INTO messages ({_names(_MESSAGES)}) SELECT {_names(_MESSAGES)} FROM given "
    "ON CONFLICT DO NOTHING RETURNING runtime_id)",
)

PUT_SNAPSHOTS: Final = _for_rows(
    _SNAPSHOT,
    f"INSERT INTO snapshots ({_names(_SNAPSHOT)}) SELECT {_names(_SNAPSHOT)} "
    f"FROM {_given(_SNAPSHOT)} ON CONFLICT (runtime_id) DO UPDATE SET body = excluded.body",
)

OFFER_INPUTS: Final = (
    "WITH known AS (SELECT runtime_id FROM runtimes WHERE runtime_id = %b FOR SHARE), "
    f"added AS (INSERT INTO inputs ({_names(_INPUT)}) SELECT {_names(_INPUT)} "
    f"FROM {_given(_INPUT)} JOIN known USING (runtime_id) "
    "ORDER BY number ON CONFLICT DO NOTHING) SELECT runtime_id FROM known"
)
# An offer waits for a commit of its runtime, and a commit for an offer: neither sees half.

OFFER_MANY: Final = _for_rows(
    _INPUT,
    "WITH given AS (SELECT *, row_number() OVER (PARTITION BY runtime_id ORDER BY number) AS turn "
    f"FROM {_given(_INPUT)}), "
    "known AS (SELECT runtime_id, state, registered, set_aside, owner_id FROM runtimes "
    "WHERE runtime_id = ANY(%b::text[]) ORDER BY runtime_id FOR SHARE), "
    "room AS (SELECT runtime_id, %b::bigint - (SELECT count(*) FROM (SELECT FROM inputs "
    "WHERE inputs.runtime_id = known.runtime_id AND outcome IS NULL LIMIT %b::bigint) AS pending) "
    "AS turns FROM known), "
    f"added AS (INSERT INTO inputs ({_names(_INPUT)}) SELECT {_given_names(_INPUT)} "
    "FROM given JOIN known USING (runtime_id) JOIN room USING (runtime_id) "
    "WHERE registered AND set_aside IS NULL AND known.state = ANY(%b::text[]) AND turn <= turns "
    "ORDER BY runtime_id, number ON CONFLICT DO NOTHING RETURNING runtime_id, input_id) "
    "SELECT number, added.input_id IS NOT NULL, turn > turns, owners.id, known.state, registered, "
    "set_aside FROM given LEFT JOIN known USING (runtime_id) LEFT JOIN room USING (runtime_id) "
    "LEFT JOIN added USING (runtime_id, input_id) "
    f"LEFT JOIN owners ON owners.id = known.owner_id AND {LIVING} ORDER BY number",
)
# Runtimes are locked in the order in which a commit writes them, so that they do not meet. What
# waits of each is counted as far as there may be room, and what others offer meanwhile is not.

KNOWN_OFFERS: Final = (
    "WITH given AS (SELECT * FROM unnest(%b::text[], %b::uuid[], %b::bytea[]) WITH ORDINALITY "
    "AS given (runtime_id, input_id, idempotency_key, number)) "
    "SELECT number, inputs.input_id::text, phase, convert_to(state, 'UTF8'), "
    "convert_to(payload, 'UTF8') FROM given JOIN inputs USING (runtime_id, idempotency_key) "
    "UNION ALL SELECT number, inputs.input_id::text, phase, convert_to(state, 'UTF8'), "
    "convert_to(payload, 'UTF8') FROM given JOIN inputs USING (runtime_id, input_id)"
)
"""The inputs that have the key of one that is offered, then those that have its id."""

NOTIFY: Final = "SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS told (channel)"

# --- reading ----------------------------------------------------------------------------

RUNTIME: Final = (
    "runtime_id, session_id::text, epoch_id::text, state, fence, registered, "
    "next_admission_sequence, convert_to(silent_intents, 'UTF8'), convert_to(cursors, 'UTF8'), "
    "feed_watermark, live_operations, set_aside, paused"
)
INPUT: Final = (
    "SELECT input_id::text, phase, convert_to(state, 'UTF8'), convert_to(payload, 'UTF8') "
    "FROM inputs WHERE runtime_id = %s"
)
# JSON is read as bytes, which is what its parser takes.

_RUNTIME_ROW: Final = f"SELECT {RUNTIME} FROM runtimes"
_RECEIPT_ROW: Final = (
    "SELECT run_id::text, sequence, boundary, convert_to(contributing_input_ids::text, 'UTF8'), "
    "conversation_digest, message_count FROM receipts WHERE runtime_id = %s"
)

READS: Final = ReadStatements(
    runtime=f"{_RUNTIME_ROW} WHERE runtime_id = %s",
    runtimes=f"{_RUNTIME_ROW} WHERE runtime_id > %s ORDER BY runtime_id LIMIT %s",
    with_work=(
        "SELECT runtime_id FROM runtimes WHERE registered AND runtime_id IN ("
        "SELECT runtime_id FROM inputs WHERE outcome IS NULL "
        "UNION SELECT runtime_id FROM runtimes WHERE has_news) ORDER BY runtime_id"
    ),
    active_inputs=f"{INPUT} AND outcome IS NULL ORDER BY {ADMITTED}",
    input=f"{INPUT} AND input_id = %s",
    input_by_key=f"{INPUT} AND idempotency_key = %s",
    receipt=f"{_RECEIPT_ROW} AND run_id = %s AND sequence = %s",
    receipts=(
        f"{_RECEIPT_ROW} AND (run_id, sequence < 0, sequence) > (%s, %s, %s) "
        "ORDER BY run_id, sequence < 0, sequence LIMIT %s"
    ),
    operations=(
        "SELECT epoch_id::text, seq, convert_to(record, 'UTF8') FROM operations "
        "WHERE runtime_id = %s AND (epoch_id, seq < 0, seq) > (%s, %s, %s) "
        "ORDER BY epoch_id, seq < 0, seq LIMIT %s"
    ),
    before_all=(str(UUID(int=0)), False, -1),
)

KNOWN_INPUTS: Final = (
    f"{INPUT} AND input_id = ANY(%s::uuid[]) "
    f"UNION ALL {INPUT} AND idempotency_key = ANY(%s::bytea[])"
)

PAYLOADS: Final = (
    "SELECT input_id::text, convert_to(payload, 'UTF8') FROM inputs "
    "WHERE runtime_id = %s AND payload IS NOT NULL AND input_id = ANY(%s::uuid[])"
)

SESSION: Final = (
    "SELECT * FROM (SELECT position, count, convert_to(body, 'UTF8'), NULL::bytea FROM messages "
    "WHERE runtime_id = %s ORDER BY position) AS chunks "
    "UNION ALL SELECT NULL, NULL, NULL, body FROM snapshots WHERE runtime_id = %s"
)
"""(position, count, body, None) of the messages, then (None, None, None, body) of a snapshot."""

OPERATIONS: Final = (
    "(SELECT seq, convert_to(record, 'UTF8') FROM operations "
    "WHERE runtime_id = %s AND epoch_id = %s ORDER BY seq DESC LIMIT %s) "
    "UNION ALL SELECT NULL, convert_to(record, 'UTF8') FROM begun_operations "
    "WHERE runtime_id = %s AND epoch_id = %s"
)
"""(seq, record) of an epoch's ended operations, the last first, then (None, record) of the begun.

One statement sees one moment: read apart, one that ends in between would be in both, or neither.
"""
