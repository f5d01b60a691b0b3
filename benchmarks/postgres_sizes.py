"""What a runtime, an input, a receipt and a turn's messages weigh in PostgreSQL, and in its log.

    python benchmarks/postgres_sizes.py [--runtimes N] [--turns N] [--items N] [--json]

A server of its own is filled through ``commit_many``: so many registered runtimes, each with some
finished turns, which arrive in no order among the runtimes. An input says 100 bytes, and a turn
adds 1,293 bytes of messages: the means of the recorded airline sessions. Then a plane works items
off, one each over as many runtimes, and the log that the server has written is measured by
``pg_current_wal_insert_lsn``: behind a checkpoint, when each page that is touched is written to the
log as a whole, for few items and for all of them, and once more over the same runtimes. Bytes are
counted, and processor time of the server's processes: other work beside it does little harm.
``MEERKAT_POSTGRES_URL`` takes its place.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
from attrs import evolve

from actors import ControlPlane
from meerkat import (
    Accepted,
    InputState,
    PromptInput,
    RunBoundaryReceipt,
    RunContext,
    RunId,
    RunOutput,
    RuntimeEpochId,
    SessionId,
    StagedInput,
)
from meerkat.admission import encode_input
from meerkat.conversation import AppendMessages
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import consume_at_boundary, queue_accepted, stage_for_run
from meerkat.policy import DEFAULT_POLICY, RunBoundary
from meerkat.store import Batch, InputRow, PostgresStore, RuntimeRow
from meerkat.store.sharing import Sharing
from meerkat.testing.postgres_server import URL_VARIABLE, PostgresServer

SCHEMA: Final = "sizes"
SAID_BYTES: Final = 100
TURN_BYTES: Final = 1_293
TURN_MESSAGES: Final = 3
DIGEST: Final = "0f" * 32
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
BATCHES_A_COMMIT: Final = 512
FEW: Final = 20
"""One of so many items comes alone: no other one is on its pages."""

OFFERED_TOGETHER: Final = 10
RENEWALS: Final = 1_000

UNDER_WAY: Final = 1_000
"""Items that the plane has at a time."""

ROWS: Final[Mapping[str, str]] = {
    "runtimes": "a runtime",
    "inputs": "a finished input",
    "receipts": "a receipt",
    "messages": "the messages of a turn",
}
"""table → what its rows are."""

_WORDS: Final = random.Random(8)  # noqa: S311 - the same texts in every run


def text(size: int) -> str:
    """A text of so many bytes that compresses as prose does, more or less."""
    letters = _WORDS.choices("etaoinshrdlucmfwypvbgkjqxz      ", k=size)
    return "".join(letters)


def turn_messages() -> bytes:
    """The messages of a turn, as they are stored."""
    empty = [{"content": "", "role": role} for role in ("user", "tool", "assistant")]
    room = TURN_BYTES - len(json.dumps(empty, separators=(",", ":"))) - SAID_BYTES
    empty[0]["content"] = text(SAID_BYTES)
    empty[1]["content"], empty[2]["content"] = text(room // 2), text(room - room // 2)
    return json.dumps(empty, separators=(",", ":")).encode()


def row_of(runtime_id: LogicalRuntimeId, ids: tuple[SessionId, RuntimeEpochId], turns: int) -> Any:
    """A runtime that has had so many turns."""
    return RuntimeRow(
        runtime_id=runtime_id,
        session_id=ids[0],
        epoch_id=ids[1],
        fence=turns + 1,
        next_admission_sequence=turns,
    )


def turn(runtime_id: LogicalRuntimeId, ids: tuple[SessionId, RuntimeEpochId], number: int) -> Batch:
    """A turn of a runtime, finished."""
    now, run_id = datetime.now(UTC), RunId.new()
    offered = PromptInput(text(SAID_BYTES), idempotency_key=f"{runtime_id}/{number}")
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    state = queue_accepted(InputState.of(offered, now), now, policy=decision, sequence=number)
    state = stage_for_run(state, now, run_id=run_id)
    state = consume_at_boundary(state, now, run_id=run_id, sequence=0, result="noted")
    return Batch(
        runtime=row_of(runtime_id, ids, number + 1),
        expected_fence=number + 1,
        inputs=(InputRow(state, encode_input(offered, PAYLOAD_BYTES_MAX)),),
        receipts=(
            RunBoundaryReceipt(
                run_id=run_id,
                boundary=RunBoundary.RUN_START,
                contributing_input_ids=(state.input_id,),
                conversation_digest=DIGEST,
                message_count=TURN_MESSAGES * (number + 1),
                sequence=0,
            ),
        ),
        session=(AppendMessages(TURN_MESSAGES * number, TURN_MESSAGES, turn_messages()),),
    )


def filled(store: PostgresStore, runtimes: int, turns: int) -> list[LogicalRuntimeId]:
    """Fill a store; the ids of its runtimes."""
    known = {}
    for _ in range(runtimes):
        session_id = SessionId.new()
        known[LogicalRuntimeId.for_session(session_id)] = (session_id, RuntimeEpochId.new())
    names = list(known)
    commit(store, (Batch(runtime=row_of(n, known[n], 0), expected_fence=0) for n in names))
    for number in range(turns):
        arriving = random.Random(number).sample(names, len(names))  # noqa: S311 - the same each time
        commit(store, (turn(name, known[name], number) for name in arriving))
    return names


def commit(store: PostgresStore, batches: Iterator[Batch]) -> None:
    """Commit them as a journal does, many at a time."""
    for group in batched_of(batches):
        for refused in store.commit_many(group):
            if refused is not None:
                raise refused


def batched_of(batches: Iterator[Batch]) -> Iterator[Sequence[Batch]]:
    """So many at a time."""
    group: list[Batch] = []
    for each in batches:
        group.append(each)
        if len(group) == BATCHES_A_COMMIT:
            yield group
            group = []
    if group:
        yield group


def sizes(server: psycopg.Connection[Any]) -> dict[str, dict[str, float]]:
    """Bytes a row of each table, its indexes apart."""
    found = {}
    for table in ROWS:
        name = f"{SCHEMA}.{table}"
        ((rows,),) = server.execute(f"SELECT count(*) FROM {name}").fetchall()  # noqa: S608 - constants
        ((heap, total),) = server.execute(
            "SELECT pg_table_size(%s), pg_total_relation_size(%s)", (name, name)
        ).fetchall()
        found[table] = {"rows": rows, "row": heap / rows, "indexes": (total - heap) / rows}
    return found


def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
    """A turn."""
    said = {"role": "user", "content": primitive.text}
    rest = json.loads(turn_messages())[1:]
    return RunOutput(append=[said, *rest], result="noted")


def logged(server: psycopg.Connection[Any], work: Callable[[], object]) -> int:
    """Bytes that some work has had logged."""
    look = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    ((before,),) = server.execute(look).fetchall()
    work()
    ((after,),) = server.execute(look).fetchall()
    return int(after - before)


def processor_s(server: psycopg.Connection[Any]) -> float:
    """Processor time that the server's processes of our sessions have had (Linux)."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'meerkat%'"
    ticks = 0
    for (pid,) in server.execute(ours).fetchall():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def work_off(plane: ControlPlane, names: Sequence[LogicalRuntimeId], mark: str) -> None:
    """One item over each of some runtimes, some hundreds at a time."""
    for start in range(0, len(names), UNDER_WAY):
        handles = [
            plane.submit(name, PromptInput(text(SAID_BYTES), idempotency_key=f"{mark}/{name}"))
            for name in names[start : start + UNDER_WAY]
        ]
        for each in handles:
            each.completion.result()


def measured(url: str, runtimes: int, turns: int, items: int) -> dict[str, Any]:
    """All of it."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        store = PostgresStore(url, schema=SCHEMA)
        names = filled(store, runtimes, turns)
        store.close()
        server.execute("VACUUM ANALYZE")
        told: dict[str, Any] = {"sizes": sizes(server)}
        asked = random.Random(items).sample(names, items)  # noqa: S311 - the same each time
        few = asked[: max(1, items // FEW)]
        with ControlPlane(store=PostgresStore(url, schema=SCHEMA), executor=answer) as plane:
            for name in asked:
                plane.runtime_state(name)
            for mark, among in (("alone", few), ("first", asked), ("again", asked)):
                if mark != "again":
                    server.execute("CHECKPOINT")
                spent_s = -processor_s(server)
                told[mark] = logged(server, partial(work_off, plane, among, mark)) / len(among)
                spent_s += processor_s(server)
            told["together"] = spent_s / items
            spent_s = -processor_s(server)
            for name in few:
                work_off(plane, [name], "waits")
            told["one by one"] = (spent_s + processor_s(server)) / len(few)
        told["offer"] = logged(server, partial(offers, url, few)) / len(few)
        told["renewal"] = logged(server, partial(renewals, url)) / RENEWALS
    return told


def offers(url: str, names: Sequence[LogicalRuntimeId]) -> None:
    """Offer an input to each of some runtimes, as a process does that has none of them."""
    store = PostgresStore(url, schema=SCHEMA, sharing=Sharing(name="offers"))
    store.acquire()
    for start in range(0, len(names), OFFERED_TOGETHER):
        asked = [(name, offer(name)) for name in names[start : start + OFFERED_TOGETHER]]
        if not all(isinstance(each, Accepted) for each in store.offer_many(asked)):
            raise RuntimeError("an offer was not accepted")
    store.close()


def offer(runtime_id: LogicalRuntimeId) -> InputRow:
    """An input as it is offered."""
    offered = PromptInput(text(SAID_BYTES), idempotency_key=f"offered/{runtime_id}")
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    state = evolve(InputState.of(offered, datetime.now(UTC)), policy=decision)
    return InputRow(state, encode_input(offered, PAYLOAD_BYTES_MAX))


def renewals(url: str) -> None:
    """Give some signs of life."""
    store = PostgresStore(url, schema=SCHEMA, sharing=Sharing(name="renewals"))
    store.acquire()
    for _ in range(RENEWALS):
        store.renew()
    store.close()


def table(told: Mapping[str, Any]) -> Iterator[str]:
    """The figures, as a page takes them."""
    yield "| | bytes a row | of indexes | in all |"
    yield "|---|---|---|---|"
    for name, what in ROWS.items():
        found = told["sizes"][name]
        row, indexes = found["row"], found["indexes"]
        yield f"| {what} | {row:,.0f} | {indexes:,.0f} | {row + indexes:,.0f} |"
    yield ""
    yield "| processor time of the server, an item | µs |"
    yield "|---|---|"
    for mark, what in (("together", "hundreds in a commit"), ("one by one", "each by itself")):
        yield f"| {what} | {1e6 * told[mark]:,.0f} |"
    yield ""
    yield "| the log of an item, accepted, run and completed | bytes |"
    yield "|---|---|"
    for mark, what in (
        ("alone", "the first behind a checkpoint on all its pages"),
        ("first", "the first of its runtime, others on the same pages"),
        ("again", "another one of the same runtimes"),
        ("offer", "an offer, besides"),
        ("renewal", "a renewal of a lease"),
    ):
        yield f"| {what} | {told[mark]:,.0f} |"


def own_server(stack: ExitStack) -> str:
    """A server that begins no checkpoint while something is measured."""
    url = stack.enter_context(PostgresServer()).url
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET max_wal_size = '32GB'")
        server.execute("ALTER SYSTEM SET checkpoint_timeout = '1h'")
        server.execute("SELECT pg_reload_conf()")
    return url


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtimes", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = os.environ.get(URL_VARIABLE) or own_server(stack)
        told = measured(url, options.runtimes, options.turns, options.items)
    print(json.dumps(told) if options.json else "\n".join(table(told)))


if __name__ == "__main__":
    main()
