"""What a look for what can be adopted costs, when all that has work is in others' hands.

    python benchmarks/postgres_adopting.py [--working N] [--owners N] [--rounds N]

So many runtimes have an input staged, as many are known besides, and all of them belong to so many
owners with a lease. One of these then looks: for what it can adopt, page by page, and for what was
offered to it. Told is the time of each, and how many buffers the server has gone through for it,
which other work beside it does not change. The server is one of its own; ``MEERKAT_POSTGRES_URL``
takes its place.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import psycopg
from postgres_sizes import SCHEMA
from scale_stores import BATCHES_A_COMMIT, names, row_of, waiting

from meerkat.store import Batch, PostgresStore
from meerkat.store.sharing import Sharing
from meerkat.testing.postgres_server import URL_VARIABLE, PostgresServer

LEASE_S: Final = 3_600.0

_OWNERS: Final = f"""
INSERT INTO {SCHEMA}.owners (name, process, sessions, lease_until)
SELECT 'owner ' || number, 'none', 'none', clock_timestamp() + interval '1 hour'
FROM generate_series(2, %s) AS number
"""  # noqa: S608 - constants

_HANDS: Final = f"""
UPDATE {SCHEMA}.runtimes SET owner_id = (ARRAY(SELECT id FROM {SCHEMA}.owners))
[1 + abs(hashtext(runtime_id)) %% %s]
"""  # noqa: S608 - constants

_BUFFERS: Final = (
    "SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) "
    "FROM pg_statio_all_tables WHERE schemaname = %s"
)


def filled(url: str, working: int, owners: int) -> PostgresStore:
    """A schema with all that, and the store of one of the owners."""
    store = PostgresStore(url, schema=SCHEMA)
    known = names(2 * working)
    for start in range(0, len(known), BATCHES_A_COMMIT):
        group = [
            Batch(
                runtime=row_of(name, number % 2),
                expected_fence=0,
                inputs=(waiting(name, 0, in_hand=True),) if number % 2 else (),
            )
            for number, name in enumerate(known[start : start + BATCHES_A_COMMIT])
        ]
        for refused in store.commit_many(group):
            if refused is not None:
                raise refused
    store.close()
    mine = PostgresStore(url, schema=SCHEMA, sharing=Sharing(name="owner 1", lease_s=LEASE_S))
    mine.acquire()
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(_OWNERS, (owners,))
        server.execute(_HANDS, (owners,))
        server.execute("VACUUM ANALYZE")
    return mine


def all_adoptable(store: PostgresStore) -> int:
    """Look through all pages; how many there were to adopt, one's own among them."""
    found, after = 0, None
    while True:
        page = store.page_adoptable(after=after)
        found += len(page.items)
        after = page.next
        if after is None:
            return found


def measured(url: str, look: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median milliseconds of a look, and the buffers of one."""

    def buffers() -> Any:
        with psycopg.connect(url, autocommit=True) as server:
            time.sleep(2)  # a session at rest tells what it has done within a second
            return server.execute(_BUFFERS, (SCHEMA,)).fetchall()[0][0]

    look()
    before, spent = buffers(), []
    for _ in range(rounds):
        began = time.perf_counter()
        look()
        spent.append(1e3 * (time.perf_counter() - began))
    return statistics.median(spent), float(buffers() - before) / rounds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--working", type=int, default=50_000)
    parser.add_argument("--owners", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with ExitStack() as stack:
        url = os.environ.get(URL_VARIABLE) or stack.enter_context(PostgresServer()).url
        store = filled(url, options.working, options.owners)
        stack.callback(store.close)
        print(f"| {options.working:,} runtimes at work, {options.owners} owners | ms | buffers |")
        print("|---|---|---|")
        for what, look in (
            ("all pages of what can be adopted", lambda: all_adoptable(store)),
            ("what was offered", store.offered),
        ):
            median_ms, buffers = measured(url, look, options.rounds)
            print(f"| {what} | {median_ms:,.1f} | {buffers:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
