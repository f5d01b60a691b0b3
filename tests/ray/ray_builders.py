"""Builders: a Ray of this machine alone, and whether all of it is gone at the end."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.cluster_utils import Cluster

from actors.ray import RayControlPlane
from meerkat import RunContext, RunOutput, StagedInput
from meerkat.testing.postgres_server import postgres_url

SMALL = {"object_store_memory": 80_000_000}
"""Memory for large values, of which there are none."""

QUIET = {"logging_level": logging.ERROR, "log_to_driver": False}

MARK = f"MEERKAT_RAY_OF={os.getpid()}"
"""What the environment of each process is known by that comes of this one."""

os.environ.update([MARK.split("=")])

LONG_S = 120.0
"""How long anything is waited for that starts processes, on two cores that others use, too."""


@contextmanager
def local_ray(**more: Any) -> Iterator[None]:
    """A Ray with one node; at the end none of its processes is left."""
    before = processes()
    ray.init(num_cpus=2, include_dashboard=False, **SMALL, **QUIET, **more)
    try:
        yield
    finally:
        ray.shutdown()
    assert_gone(before)


@contextmanager
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    """A cluster of a head without room for shards, and two nodes that have it; and the second.

    A node that does not answer counts as gone after two seconds.
    """
    before = processes()
    soon = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 1000,
        "health_check_failure_threshold": 3,
    }
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": soon, **SMALL}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        room = {"num_cpus": 1, "resources": {"shards": 2}, **SMALL}
        cluster.add_node(**room)
        node = cluster.add_node(**room)
        ray.init(address=cluster.address, **QUIET)
        yield cluster, node
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert_gone(before)


def processes() -> set[int]:
    """The processes of Ray's that this one has begun, and those that they have."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                said, around = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue  # it has just ended
            if MARK.encode() in around and (b"ray::" in said or b"/ray/" in said):
                found.add(int(entry.name))
    return found


def assert_gone(before: set[int]) -> None:
    """Every process of Ray's that has come since is gone, soon."""
    until = time.monotonic() + LONG_S
    while processes() - before and time.monotonic() < until:
        time.sleep(0.05)
    assert processes() - before == set()


def ray_plane(executor: Any = None, **settings: Any) -> RayControlPlane:
    """A front door that is not started, to shards with names and a schema of their own."""
    name = f"t{uuid4().hex[:8]}"
    given = {"name": name, "schema": name, "start_within_s": LONG_S, "lease_s": 3.0, **settings}
    return RayControlPlane(postgres_url(), executor, **given)


def answer(context: RunContext, primitive: StagedInput) -> RunOutput:
    """An executor that says what it was told, and where it ran."""
    said = {"role": "user", "content": primitive.text}
    return RunOutput(append=[said], result=[primitive.text, os.getpid()])


def until(holds: Callable[[], bool], within_s: float = LONG_S) -> None:
    """Wait until something holds that happens in another process."""
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)
