"""The example: SIGTERM ends it in order, and no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ray_builders import LONG_S, assert_gone, processes

from meerkat import InputPhase, LogicalRuntimeId
from meerkat.store import PostgresStore
from meerkat.testing.postgres_server import PostgresServer

SERVICE = Path(__file__).parents[2] / "examples" / "ray_service.py"


def test_sigterm_ends_the_service_its_shards_and_its_ray() -> None:
    before = processes()
    with PostgresServer(durable=False) as server:
        service = subprocess.Popen(
            [sys.executable, SERVICE, server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ,
            text=True,
        )
        try:
            assert service.stdout is not None
            served = {service.stdout.readline().split()[0] for _ in range(4)}
            assert served == {"anna", "ben", "carla", "dora"}
            service.send_signal(signal.SIGTERM)
            out, _ = service.communicate(timeout=LONG_S)
        finally:
            service.kill()
        assert service.returncode != 0
        assert "ShutdownReport(" in out
        assert "failure=None" in out
        store = PostgresStore(server.url)
        for name in served:
            ended = store.page_terminal_inputs(LogicalRuntimeId(name)).items
            assert ended
            assert all(each.phase is InputPhase.CONSUMED for each in ended)
        store.close()
    assert_gone(before)
