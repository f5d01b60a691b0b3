"""Real sessions through the whole system: replayed, repeated, killed, and failing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airline import (
    INPUT_COUNT,
    INPUTS,
    SESSION_COUNT,
    needs_recordings,
    recorded_inputs,
    replay_unreliably,
)
from checks import check_all_replayed, check_replayed, stored_receipts

from actors import ControlPlane
from actors.settings import MAX_CONCURRENT_RUNS
from meerkat import Input, InputId, from_json
from meerkat.limits import Backoff
from meerkat.store import PostgresStore, SqliteStore
from meerkat.testing.postgres_server import postgres_url

pytestmark = needs_recordings


def command(path: Path, executor: str) -> list[str]:
    return [
        *(sys.executable, "-m", "actors.cli", "run", str(INPUTS)),
        *("--store", f"sqlite:///{path}", "--executor", f"airline:{executor}", "--json"),
    ]


def run_to_the_end(path: Path, executor: str = "replay") -> dict[str, Any]:
    done = subprocess.run(
        command(path, executor), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def test_every_session_is_replayed_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "airline.db"
    first = run_to_the_end(path)
    first.pop("seconds")
    assert first == {
        "accepted": INPUT_COUNT,
        "deduplicated": 0,
        "rejected": 0,
        "completed": INPUT_COUNT,
        "abandoned": 0,
        "runs": INPUT_COUNT,
        "receipts": INPUT_COUNT,
    }
    check_all_replayed(path)
    receipts = stored_receipts(path)
    second = run_to_the_end(path)
    assert (second["accepted"], second["runs"], second["receipts"]) == (0, 0, 0)
    assert second["deduplicated"] == INPUT_COUNT
    assert stored_receipts(path) == receipts


KILLS = 8


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_and_run_again_it_ends_the_same(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "airline.db"
    chance = random.Random(seed)
    proven: dict[tuple[str, str, int], Any] = {}
    for kill in range(KILLS):
        # The n-th run of a process, and up to 20 ms later: in the middle of anything; the first
        # time behind more runs than there are slots, so that something has been proven.
        least = 1 if kill else MAX_CONCURRENT_RUNS + 1
        moment = {
            "MEERKAT_KILL_AT_RUN": str(chance.randint(least, INPUT_COUNT // KILLS)),
            "MEERKAT_KILL_DELAY_S": str(chance.uniform(0, 0.02)),
        }
        child = subprocess.run(
            command(path, "replay_until_killed"),
            env={**os.environ, **moment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL
        now = stored_receipts(path)
        assert proven.items() <= now.items()  # none lost, none rewritten
        proven = now
    assert 0 < len(proven) < INPUT_COUNT  # the kills fell while there was work
    run_to_the_end(path)
    check_all_replayed(path)
    assert proven.items() <= stored_receipts(path).items()


def test_order_holds_across_failures_retries_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "airline.db"
    lines = recorded_inputs()
    accepted: dict[str, list[InputId]] = {}
    third = len(lines) // 3
    for part in (lines[:third], lines[third : 2 * third], lines[2 * third :]):
        with ControlPlane(
            store=SqliteStore(path), executor=replay_unreliably, backoff=Backoff(base_s=0.001)
        ) as plane:
            plane.register_many({line["runtime_id"]: None for line in lines})
            submitted = [
                (line["runtime_id"], plane.submit(line["runtime_id"], _input(line)))
                for line in part
            ]
            for runtime_id, submission in submitted:
                outcome = submission.accepted.result(30)
                accepted.setdefault(runtime_id, []).append(outcome.input_id)  # type: ignore[attr-defined]
            # Stopped here, with most of this part's inputs still waiting or under way.
    with ControlPlane(
        store=SqliteStore(path), executor=replay_unreliably, backoff=Backoff(base_s=0.001)
    ) as plane:
        for runtime_id, input_ids in accepted.items():
            for input_id in input_ids:
                outcome = plane.completion(runtime_id, input_id).result(60)
                assert outcome.kind.value == "completed", outcome
    assert len(accepted) == SESSION_COUNT
    check_all_replayed(path)


def test_a_plane_over_postgres_replays_every_session() -> None:
    store = PostgresStore(postgres_url(), schema=f"a{uuid4().hex}")
    with ControlPlane(
        store=store, executor=replay_unreliably, backoff=Backoff(base_s=0.001)
    ) as plane:
        lines = recorded_inputs()
        plane.register_many({line["runtime_id"]: None for line in lines})
        submitted = [plane.submit(line["runtime_id"], _input(line)) for line in lines]
        for submission in submitted:
            outcome = submission.completion.result(120)
            assert outcome.kind.value == "completed", outcome
    check_replayed(store)
    store.close()


def _input(line: dict[str, Any]) -> Input:
    return from_json(Input, json.dumps(line["input"]))
