"""Calls by hand: they go through the front door of the database's owner, or not at all."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cli_support import call
from test_cli_terminal import on_a_terminal

from actors import ControlPlane
from actors.verbs import VERBS
from meerkat import LogicalRuntimeId, PromptInput, RunContext, RunOutput, RuntimeState, StagedInput
from meerkat.store import RuntimeRow, SqliteStore

GIVES_UP = [name for name, verb in VERBS.items() if verb.asks is not None]


@pytest.fixture
def stored(folder: Path) -> Path:
    """Two inputs of *a* wait, and one of *b*."""
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register_many(["a", "b"])
        for runtime_id in ("a", "a", "b"):
            plane.ingest(runtime_id, PromptInput("later"))
    return folder


def state_of(folder: Path, name: str) -> tuple[RuntimeState, int, int]:
    """State, inputs that wait, and the fence, which every commit raises."""
    store = SqliteStore(folder / "meerkat.db")
    row = store.load_runtime(LogicalRuntimeId(name))
    waiting = len(store.load_active_inputs(LogicalRuntimeId(name)))
    store.close()
    assert row is not None
    return row.state, waiting, row.fence


@pytest.mark.parametrize(
    ("name", "state", "count"),
    [
        ("recover", "idle", "inputs_recovered"),
        ("recycle", "idle", "inputs_transferred"),
        ("retire", "retired", "inputs_abandoned"),
        ("stop", "stopped", "inputs_abandoned"),
        ("reset", "idle", "inputs_abandoned"),
        ("destroy", "destroyed", "inputs_abandoned"),
    ],
)
def test_each_does_what_the_front_door_does_and_touches_no_other(
    stored: Path, capsys: Any, name: str, state: str, count: str
) -> None:
    other = state_of(stored, "b")
    status, out, err = call(capsys, name, "a", "--yes", "--json")
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert (said["runtime_id"], said["state"]) == ("a", state)
    assert said[count] == 2
    waiting = 0 if name in GIVES_UP else 2
    assert state_of(stored, "a")[:2] == (RuntimeState(state), waiting)
    assert state_of(stored, "b") == other


def test_no_other_runtime_is_loaded(
    stored: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[LogicalRuntimeId]()
    load = SqliteStore.load_runtime

    def noted(store: SqliteStore, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        asked.append(runtime_id)
        return load(store, runtime_id)

    monkeypatch.setattr(SqliteStore, "load_runtime", noted)
    assert call(capsys, "pause", "a")[0] == 0
    assert set(asked) == {LogicalRuntimeId("a")}


def test_what_was_done_is_said_to_people(stored: Path, capsys: Any) -> None:
    status, out, _ = call(capsys, "stop", "a", "--yes")
    assert (status, out) == (0, "a is stopped\ninputs abandoned: 2\n")


def test_a_pause_is_seen_by_whoever_has_the_database_next(stored: Path, capsys: Any) -> None:
    called: list[str] = []

    def agent(_context: RunContext, primitive: StagedInput) -> RunOutput:
        called.append(primitive.text)
        return RunOutput()

    assert call(capsys, "pause", "a")[:2] == (0, "a is idle, and paused\n")
    assert "paused" in call(capsys, "runtimes")[1].splitlines()[1]
    assert json.loads(call(capsys, "show", "a", "--json")[1])["paused"] is True
    with ControlPlane(SqliteStore(stored / "meerkat.db"), agent) as plane:
        plane.submit("b", PromptInput("of b")).completion.result(60)
    assert called == ["later", "of b"]
    assert call(capsys, "resume", "a")[0] == 0
    assert "paused" not in call(capsys, "runtimes")[1]
    with ControlPlane(SqliteStore(stored / "meerkat.db"), agent) as plane:
        plane.stop(drain=True)
    assert len(called) == 4


@pytest.mark.parametrize("name", GIVES_UP)
def test_nothing_is_given_up_unasked(stored: Path, capsys: Any, name: str) -> None:
    before = state_of(stored, "a")
    status, out, err = call(capsys, name, "a")
    assert (status, out) == (2, "")
    assert "say --yes" in err
    assert state_of(stored, "a") == before


@pytest.mark.parametrize(
    ("answer", "state"), [(b"n\n", "idle"), (b"\n", "idle"), (b"y\n", "stopped")]
)
def test_who_sits_at_a_terminal_is_asked(stored: Path, answer: bytes, state: str) -> None:
    status, written = on_a_terminal(stored, 80, "stop", "a", typed=answer)
    assert "what waits is given up (inputs: 2)" in written
    assert status == (0 if state == "stopped" else 1)
    assert state_of(stored, "a")[0] is RuntimeState(state)


@pytest.mark.parametrize("name", VERBS)
def test_nothing_is_done_behind_the_back_of_an_owner(stored: Path, capsys: Any, name: str) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
        status, out, err = call(capsys, name, "a", "--yes")
        assert (status, out) == (3, "")
        assert "is in use by" in err
        assert plane.runtime_state("a") is RuntimeState.IDLE
    assert state_of(stored, "a")[1] == 2


@pytest.mark.parametrize("name", VERBS)
def test_a_runtime_that_is_not_there(stored: Path, capsys: Any, name: str) -> None:
    status, _, err = call(capsys, name, "nobody", "--yes")
    assert (status, err) == (1, f"meerkat: Runtime not found: nobody, in {Path.cwd()}/meerkat.db\n")


def test_a_state_that_forbids_it_is_named(stored: Path, capsys: Any) -> None:
    assert call(capsys, "destroy", "a", "--yes")[0] == 0
    status, _, err = call(capsys, "destroy", "a", "--yes")
    assert (status, err) == (1, "meerkat: Invalid state for operation: destroyed\n")


def test_damage_that_a_driver_meets_leads_to_the_doctor(stored: Path, capsys: Any) -> None:
    with sqlite3.connect(stored / "meerkat.db") as database:
        database.execute("UPDATE inputs SET state = '{' WHERE runtime_id = 'a'")
    database.close()
    status, out, err = call(capsys, "recover", "a")
    assert (status, out) == (3, "")
    assert err.endswith("; meerkat doctor says what to do\n")


def test_one_that_was_set_aside_comes_back(stored: Path, capsys: Any) -> None:
    with sqlite3.connect(stored / "meerkat.db") as database:
        database.execute("UPDATE runtimes SET set_aside = 'failed' WHERE runtime_id = 'a'")
    database.close()
    assert call(capsys, "recover", "a")[0] == 0
    assert "set aside" not in call(capsys, "runtimes")[1]
