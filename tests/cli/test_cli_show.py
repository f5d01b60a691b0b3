"""``meerkat show``: it tells what is stored, beside a running process, and makes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, prompt, texts_of, write_inputs

from actors import ControlPlane
from meerkat import PromptInput, RunOutput
from meerkat.store import SqliteStore


def facts_of(output: str) -> dict[str, str]:
    """The human table as a mapping."""
    return {line[:14].strip(): line[15:].strip() for line in output.splitlines()}


@pytest.fixture
def worked(folder: Path, capsys: Any) -> Path:
    """A folder in which a session has been worked."""
    write_inputs(folder / "i.jsonl", [prompt("a", f"k{n}") for n in range(3)])
    assert call(capsys, "run", "i.jsonl")[0] == 0
    return folder


def test_the_table_for_people(worked: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "show", "a")
    facts = facts_of(out)
    assert (status, err) == (0, "")
    assert facts["runtime id"] == "a"
    assert facts["state"] == "idle"
    assert facts["registered"] == "yes"
    assert facts["messages"] == "6"
    assert facts["receipts"] == "3"
    assert facts["pending inputs"] == "0"
    assert len(facts["epoch id"]) == len(facts["session id"]) == 36


def test_the_table_as_json(worked: Path, capsys: Any) -> None:
    status, out, _ = call(capsys, "show", "a", "--json")
    (line,) = out.splitlines()
    facts = json.loads(line)
    assert status == 0
    assert (facts["runtime_id"], facts["state"]) == ("a", "idle")
    assert (facts["messages"], facts["receipts"], facts["pending_inputs"]) == (6, 3, 0)


def test_the_messages(worked: Path, capsys: Any) -> None:
    status, out, _ = call(capsys, "show", "a", "--messages", "--json")
    assert status == 0
    (line,) = out.splitlines()
    document = json.loads(line)
    assert list(document) == ["runtime_id", "state", "messages"]
    assert (document["runtime_id"], document["state"]) == ("a", "idle")
    assert texts_of(document["messages"]) == ["k0", "k1", "k2"]
    status, out, _ = call(capsys, "show", "a", "--messages")
    assert status == 0
    assert out.startswith("[1] user\nk0\n\n[2] assistant\nk0\n\n[3] user\n")


def test_another_store(worked: Path, capsys: Any) -> None:
    (worked / "meerkat.db").rename(worked / "other.db")
    assert call(capsys, "show", "a")[0] == 3
    assert call(capsys, "show", "a", "--store", "sqlite:///other.db")[0] == 0
    assert call(capsys, "show", "a", "--store", f"sqlite:///{worked}/other.db")[0] == 0


def test_a_runtime_that_is_not_there(worked: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "show", "b", "--json")
    assert (status, out, err) == (
        1,
        "",
        f"meerkat: Runtime not found: b, in {Path.cwd()}/meerkat.db\n",
    )


def test_a_store_that_is_not_there_is_not_made(folder: Path, capsys: Any) -> None:
    before = set(folder.iterdir())
    status, out, err = call(capsys, "show", "a")
    assert (status, out) == (3, "")
    assert err.startswith("meerkat: Store error: ")
    assert "meerkat.db: there is no such file; " in err
    assert err.endswith("sqlite:///FILE is counted from this folder, sqlite:////FILE from /\n")
    assert set(folder.iterdir()) == before


def test_an_empty_file_holds_nothing(folder: Path, capsys: Any) -> None:
    (folder / "meerkat.db").touch()
    status, _, err = call(capsys, "show", "a")
    assert status == 1
    assert "Runtime not found" in err
    assert (folder / "meerkat.db").stat().st_size == 0


def test_it_reads_beside_the_owner(folder: Path, capsys: Any) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        plane.register("a")
        plane.ingest("a", PromptInput("waits"))
        status, out, _ = call(capsys, "show", "a")
        facts = facts_of(out)
        assert (status, facts["state"], facts["pending inputs"]) == (0, "idle", "1")
        plane.ingest("a", PromptInput("waits too"))
        assert facts_of(call(capsys, "show", "a")[1])["pending inputs"] == "2"


@pytest.mark.parametrize(
    ("end", "state"),
    [("retire", "retired"), ("stop_runtime", "stopped"), ("destroy", "destroyed")],
)
def test_the_state_is_the_stored_one(folder: Path, capsys: Any, end: str, state: str) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        plane.register("a")
        getattr(plane, end)("a")
    assert facts_of(call(capsys, "show", "a")[1])["state"] == state


def test_an_unregistered_runtime_is_shown_as_such(folder: Path, capsys: Any) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        plane.register("a")
        plane.unregister("a")
    assert facts_of(call(capsys, "show", "a")[1])["registered"] == "no"


def test_a_session_of_opaque_bytes(folder: Path, capsys: Any) -> None:
    store = SqliteStore("meerkat.db")
    with ControlPlane(store=store, executor=lambda *_: RunOutput(snapshot=b"12345")) as plane:
        plane.register("a")
        plane.completion("a", plane.ingest("a", PromptInput("x"))).result(timeout=10)
    facts = facts_of(call(capsys, "show", "a")[1])
    assert (facts["snapshot bytes"], facts["messages"]) == ("5", "0")
    assert json.loads(call(capsys, "show", "a", "--messages", "--json")[1])["messages"] == []
