"""The comparison on PostgreSQL: one server that waits for its disk, and figures that say so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import compare
import psycopg
import pytest
import two_processes
from compare_jobs import NotWhatItSays, check_ran
from peers import server
from peers.base import Item, Peer, make_items
from peers.raw_postgres import RawPostgres
from peers.server import NotDurable

from meerkat.testing.postgres_server import URL_VARIABLE, postgres_url

WAIT_S = 60.0


def test_ours_and_the_floor_are_measured_on_one_server(tmp_path: Path) -> None:
    saved = tmp_path / "figures.json"
    names = "--only=meerkat,raw-postgres-1"
    options = ["--store=postgres", "--items=0.002", "--rounds=1", names, f"--json={saved}"]
    command = [sys.executable, compare.__file__, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(saved.read_text())
    assert results["surroundings"]["server"]["fsync"] == "on"
    figures = {(each["job"], each["name"]): each for each in results["figures"]}
    jobs = {job for job, _ in figures}
    assert jobs == {"pipelined", "callers", "one"}
    for job in jobs:
        assert figures[job, "meerkat"]["durability"] == [["wal", 2]]
        assert figures[job, "raw-postgres-1"]["commits"] >= 2
    assert figures["one", "meerkat-postgres"]["commits"] >= 2
    assert "commits" not in figures["one", "meerkat"]
    assert figures["one", "meerkat-postgres"]["server_cpu_s"] >= 0
    assert "What an item costs" in done.stdout


def test_two_processes_work_off_what_is_dealt_to_them() -> None:
    rows = "meerkat, two processes"
    options = ["--items=200", "--rounds=1", f"--only={rows}"]
    command = [sys.executable, two_processes.__file__, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"\n| {rows} | ") == len(two_processes.JOBS)


def test_a_server_that_does_not_wait_for_its_disk_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, postgres_url())
    with pytest.raises(NotDurable, match="'fsync': 'off'"):
        RawPostgres(tmp_path)


def test_what_is_stored_is_counted_in_the_database_of_the_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, postgres_url())
    monkeypatch.setattr(server, "DURABLE", ())
    peer, items = RawPostgres(tmp_path), make_items(0, 3, 2)
    peer.pipelined(items[:2])
    peer.close()
    check_ran(peer, items[:2])
    peer.ran.append(items[2].text)
    with pytest.raises(NotWhatItSays, match="3 items, 2 complete"):
        check_ran(peer, items)
    peer.remove()


def test_the_time_of_the_processor_is_that_of_the_servers_processes() -> None:
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        backend = connection.info.backend_pid
        before = server.cpu_of_server(backend)
        deadline = time.monotonic() + WAIT_S
        while server.cpu_of_server(backend) <= before:  # it is counted in ticks of the kernel
            assert time.monotonic() < deadline
            connection.execute("SELECT count(*) FROM generate_series(1, 100000)")
    assert server.cpu_of_server(0) == 0.0


def test_a_session_out_of_its_order_is_no_figure(tmp_path: Path) -> None:
    class Backwards(Peer):
        ORDERS = True

        def pipelined(self, items: Sequence[Item]) -> Any:
            for item in reversed(items):
                self.answer(item.text)

    peer, items = Backwards(tmp_path), make_items(0, 4, 2)
    peer.pipelined(items)
    with pytest.raises(NotWhatItSays, match="order"):
        check_ran(peer, items)
    check_ran(peer, items, in_order=False)
