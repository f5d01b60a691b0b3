"""Shards on Ray: what the wire costs, what a second shard brings, and how soon one is there.

    python benchmarks/ray_shards.py [--items N] [--seconds S] [--runtimes N] [--rounds N]

PostgreSQL with full sync and a local Ray, all on this machine, so that shards, the database
and the callers share its cores. Three tables:

* callers that each wait for their ``ingest``: calls that one remote call carries, and latency;
* items accepted, run and completed over 100 sessions, submitted without waiting, by one shard
  and by two, in turn in each round, beside a ``ControlPlane`` in this process over the same
  server; and the same with an executor that computes for 5 ms, as Python does;
* a shard that starts with so many runtimes that each have an input waiting: until it is open,
  and until the last of them is worked.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from uuid import uuid4

import ray

from actors import ControlPlane
from actors.ray import RayControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import PostgresStore
from meerkat.testing.postgres_server import PostgresServer

SESSIONS = [f"session-{number}" for number in range(100)]
AT_ONCE = 1_000
"""Items that are under way at a time."""

COMPUTES_S = 0.005


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:  # noqa: ARG001 - an executor
    """Says something back."""
    said = {"role": "user", "content": primitive.text}
    return RunOutput(append=[said, {"role": "assistant", "content": "noted"}])


def computing(context: RunContext, primitive: StagedInput) -> RunOutput:
    """The same, after some work of Python's own."""
    until = time.thread_time() + COMPUTES_S
    while time.thread_time() < until:
        sum(range(100))
    return agent(context, primitive)


Open = Callable[[], ControlPlane]


@contextmanager
def opened(plane: ControlPlane, names: Sequence[str] = SESSIONS) -> Iterator[ControlPlane]:
    """A plane with its sessions, warm."""
    with plane:
        plane.register_many(names)
        for each in [plane.submit(name, PromptInput("warm")) for name in names[:100]]:
            each.completion.result()
        yield plane


def items_a_second(plane: ControlPlane, items: int) -> float:
    """Accepted, run and completed, with so many under way that nothing waits for a caller."""
    room = threading.Semaphore(AT_ONCE)
    left = threading.Semaphore(0)

    def ended(_future: object) -> None:
        room.release()
        left.release()

    began = time.perf_counter()
    for number in range(items):
        room.acquire()
        sent = plane.submit(SESSIONS[number % len(SESSIONS)], PromptInput("x" * 200))
        sent.completion.add_done_callback(ended)
    for _ in range(items):
        left.acquire()
    return items / (time.perf_counter() - began)


def callers(plane: RayControlPlane, number: int, seconds: float) -> str:
    """So many callers that each wait for their ingest."""
    taken: list[float] = []
    numbers, ends = count(), time.perf_counter() + seconds

    def call() -> None:
        while (began := time.perf_counter()) < ends:
            plane.ingest(SESSIONS[next(numbers) % len(SESSIONS)], PromptInput("x" * 200))
            taken.append(time.perf_counter() - began)

    before = plane.wire_figures()
    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = plane.wire_figures()
    calls, batches = after.calls - before.calls, after.batches - before.batches
    said, polls = after.said - before.said, after.polls - before.polls
    ms = sorted(each * 1000 for each in taken)
    return (
        f"| {number} | {len(taken) / seconds:,.0f} | {calls / batches:.1f} | {said / polls:.1f} "
        f"| {statistics.median(ms):.1f} | {ms[int(len(ms) * 0.99)]:.1f} |"
    )


def wire(url: str, seconds: float) -> None:
    """The table of callers, which run nothing."""
    print("| callers | ingests/s | calls a remote call | answers a poll | median ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    plane = RayControlPlane(url, None, shards=2, schema=f"w{uuid4().hex}")
    with plane:
        plane.register_many(SESSIONS)
        for number in (1, 8, 64):
            print(callers(plane, number, seconds), flush=True)


def shards(url: str, items: int, rounds: int) -> None:
    """The table of one shard against two."""
    print("\n| | items/s | to one shard |\n|---|---|---|")
    for what, executor, count_ in (
        ("", agent, items),
        (f", each run computes {COMPUTES_S * 1000:g} ms", computing, items // 5),
    ):
        kinds: dict[str, Open] = {
            f"one shard{what}": lambda each=executor: _ray(url, each, 1),  # type: ignore[misc]
            f"two shards{what}": lambda each=executor: _ray(url, each, 2),  # type: ignore[misc]
            f"a ControlPlane in this process{what}": lambda each=executor: ControlPlane(  # type: ignore[misc]
                PostgresStore(url, schema=f"p{uuid4().hex}"), each
            ),
        }
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, make in kinds.items():
                with opened(make()) as plane:
                    found[kind].append(items_a_second(plane, count_))
        one = statistics.median(next(iter(found.values())))
        for kind, rates in found.items():
            rate = statistics.median(rates)
            print(f"| {kind} | {rate:,.0f} | {rate / one:.2f} |", flush=True)


def _ray(url: str, executor: Callable[..., RunOutput], number: int) -> RayControlPlane:
    name = f"s{uuid4().hex}"
    return RayControlPlane(url, executor, shards=number, schema=name, name=name)


def start(url: str, runtimes: int) -> None:
    """The table of a start with work."""
    name = f"r{uuid4().hex}"
    names = [f"runtime-{number}" for number in range(runtimes)]
    with ControlPlane(PostgresStore(url, schema=name)) as plane:
        plane.register_many(names)
        for each in [plane.submit(each, PromptInput("wait")) for each in names]:
            each.accepted.result()
    began = time.perf_counter()
    with RayControlPlane(url, agent, shards=1, schema=name, name=name) as far:
        opened_s = time.perf_counter() - began
        while far.figures().consumed < runtimes:
            time.sleep(0.05)
        worked_s = time.perf_counter() - began
    print("\n| a shard starts, s | |\n|---|---|")
    print(f"| open, with {runtimes:,} runtimes that have work | {opened_s:.1f} |")
    print(f"| the last of them worked | {worked_s:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runtimes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with PostgresServer() as server:
            wire(server.url, asked.seconds)
            shards(server.url, asked.items, asked.rounds)
            start(server.url, asked.runtimes)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
