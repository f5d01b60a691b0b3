"""The threaded service: SIGTERM ends it in order, and the next one goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from meerkat import InputPhase, LogicalRuntimeId
from meerkat.store import SqliteStore

SERVICE = Path(__file__).parents[2] / "examples" / "threaded_service.py"


def test_sigterm_ends_the_service_and_it_says_what_it_left(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    for _ in range(2):
        service = subprocess.Popen(
            [sys.executable, SERVICE, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert service.stdout is not None
        served = {service.stdout.readline().split()[0] for _ in range(3)}
        assert served == {"anna", "ben", "carla"}
        service.send_signal(signal.SIGTERM)
        out, err = service.communicate(timeout=30)
        assert (service.returncode, err) == (143, "")
        assert out.startswith("ShutdownReport(")
        assert "runs_left=0" in out
        assert "store_closed=True" in out
    store = SqliteStore(path)
    for name in served:
        runtime_id = LogicalRuntimeId(name)
        ended = store.page_terminal_inputs(runtime_id).items
        assert ended
        assert all(each.phase is InputPhase.CONSUMED for each in ended)
    store.close()
