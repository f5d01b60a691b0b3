"""``meerkat runtimes``, ``inputs`` and ``receipts``: pages of what is stored."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, prompt, write_inputs
from fake_page import FakePage, serving
from test_cli_terminal import on_a_terminal

from actors import ControlPlane
from actors.dashboard import serve
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import SqliteStore


@pytest.fixture
def stored(folder: Path, capsys: Any) -> Path:
    """Three inputs of *a* have ended, two of *b* and one of *c* wait, the one of *c* longest."""
    write_inputs(folder / "i.jsonl", [prompt("a", f"k{n}", "secret word") for n in range(3)])
    assert call(capsys, "run", "i.jsonl")[0] == 0
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register_many(["b", "c"])
        for runtime_id in ("c", "b", "b"):
            plane.ingest(runtime_id, PromptInput("secret word"))
    return folder


def listed(capsys: Any, name: str, *arguments: str) -> list[dict[str, Any]]:
    status, out, err = call(capsys, name, *arguments, "--json")
    assert (status, err) == (0, "")
    (line,) = out.splitlines()
    document = json.loads(line)
    assert list(document) == [name.split(maxsplit=1)[0], "next"]
    found: list[dict[str, Any]] = document[name]
    return found


def named(found: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(each["runtime_id"], each["pending_inputs"]) for each in found]


def test_the_runtimes_by_name_and_by_what_waits(stored: Path, capsys: Any) -> None:
    assert named(listed(capsys, "runtimes")) == [("a", 0), ("b", 2), ("c", 1)]
    assert named(listed(capsys, "runtimes", "--sort", "pending")) == [("b", 2), ("c", 1), ("a", 0)]
    assert named(listed(capsys, "runtimes", "--sort", "oldest")) == [("c", 1), ("b", 2), ("a", 0)]


def test_the_runtimes_in_some_states(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
        plane.destroy("b")
    assert named(listed(capsys, "runtimes", "--state", "destroyed")) == [("b", 0)]
    assert named(listed(capsys, "runtimes", "--state", "idle")) == [("a", 0), ("c", 1)]
    both = listed(capsys, "runtimes", "--state", "idle", "--state", "destroyed")
    assert len(both) == 3


def test_what_runs_is_told_by_the_process_that_has_the_database(folder: Path, capsys: Any) -> None:
    began, go_on = threading.Event(), threading.Event()

    def agent(_context: RunContext, _primitive: StagedInput) -> RunOutput:
        began.set()
        assert go_on.wait(60)
        return RunOutput()

    with ControlPlane(SqliteStore(folder / "meerkat.db"), agent) as plane, serve(plane):
        plane.register_many(["a", "b"])
        sent = plane.submit("b", PromptInput("long"))
        assert began.wait(60)
        rests, runs = listed(capsys, "runtimes")
        assert (rests["run"], rests["state"]) == (None, "idle")
        assert (runs["run"]["attempt"], runs["state"]) == (1, "idle")  # as it is stored
        heading, _, told = call(capsys, "runtimes")[1].splitlines()
        assert heading.split() == ["RUNTIME", "STATE", "PENDING", "OLDEST", "RUN"]
        assert told.split()[:2] == ["b", "running"]
        go_on.set()
        sent.completion.result(60)


def test_where_nobody_can_tell_what_runs_that_is_said(stored: Path, capsys: Any) -> None:
    with serving(FakePage()) as page:
        page.file(stored / "meerkat.db")
        page.answers["/api/runs"] = 503, {"error": {"code": "x", "text": "it stops"}}
        status, out, err = call(capsys, "runtimes")
    assert (status, len(out.splitlines())) == (0, 4)
    assert err.startswith("meerkat: which of them run is not known: process ")
    assert "it stops" in err


def test_what_has_ended_says_what_it_said_as_long_as_that_is_kept(
    stored: Path, capsys: Any
) -> None:
    ended = ("inputs", "a", "--ended", "--payload")
    assert call(capsys, *ended)[1].count("secret word") == 3
    said = listed(capsys, "inputs", *ended[1:])
    assert [each["payload"]["content"] for each in said] == ["secret word"] * 3
    assert all("payload" not in each for each in listed(capsys, "inputs", "a", "--ended"))
    assert call(capsys, "prune", "--max-count", "1", "--yes")[0] == 0
    kept = [each["payload"] for each in listed(capsys, "inputs", *ended[1:])]
    assert [each is None for each in kept] == [True, True, False]


@pytest.mark.parametrize("state", ["running", "attached", "initializing"])
def test_what_is_never_stored_is_no_state_to_look_for(
    stored: Path, capsys: Any, state: str
) -> None:
    status, out, err = call(capsys, "runtimes", "--state", state)
    assert (status, out) == (2, "")
    assert f"invalid choice: '{state}'" in err


@pytest.mark.parametrize("order", ["id", "pending", "oldest"])
def test_page_after_page_is_the_whole(stored: Path, capsys: Any, order: str) -> None:
    whole = listed(capsys, "runtimes", "--sort", order)
    found: list[Any] = []
    after: tuple[str, ...] = ()
    while True:
        given = ("runtimes", "--sort", order, "--limit", "1", *after)
        page = json.loads(call(capsys, *given, "--json")[1])
        found += page["runtimes"]
        if page["next"] is None:
            break
        assert call(capsys, *given)[2].startswith("meerkat: there are more: --after ")
        after = ("--after", page["next"])
    assert found == whole


def test_the_table_for_people(stored: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "runtimes")
    assert (status, err) == (0, "")
    heading, *rows = out.splitlines()
    assert heading.split() == ["RUNTIME", "STATE", "PENDING", "OLDEST"]
    assert [row.split()[:3] for row in rows] == [
        ["a", "idle", "0"],
        ["b", "idle", "2"],
        ["c", "idle", "1"],
    ]


def test_a_runtime_that_is_set_aside_or_cannot_be_read_says_so(stored: Path, capsys: Any) -> None:
    with sqlite3.connect(stored / "meerkat.db") as database:
        database.execute("UPDATE runtimes SET set_aside = 'disk full' WHERE runtime_id = 'b'")
        database.execute("UPDATE runtimes SET cursors = 'nonsense' WHERE runtime_id = 'c'")
    status, out, _ = call(capsys, "runtimes")
    assert status == 0
    rows = out.splitlines()[1:]
    assert rows[1].endswith("set aside: disk full")
    assert "unreadable: " in rows[2]
    of_c = listed(capsys, "runtimes")[2]
    assert (of_c["state"], of_c["pending_inputs"]) == (None, 1)
    assert "runtime 'c'" in of_c["unreadable"]
    for command in ("show", "pause"):
        status, out, err = call(capsys, command, "c")
        assert (status, out) == (3, "")
        assert "runtime 'c'" in err
        assert "meerkat doctor" in err


def test_the_inputs_that_wait_and_those_that_ended(stored: Path, capsys: Any) -> None:
    waiting = listed(capsys, "inputs", "b")
    assert [each["admission_sequence"] for each in waiting] == [0, 1]
    assert {each["phase"] for each in waiting} == {"queued"}
    ended = listed(capsys, "inputs", "a", "--ended")
    assert [each["idempotency_key"] for each in ended] == ["k0", "k1", "k2"]
    assert {each["phase"] for each in ended} == {"consumed"}
    assert {each["attempt_count"] for each in ended} == {1}
    assert listed(capsys, "inputs", "a") == []
    assert call(capsys, "inputs", "a")[1:] == ("", "meerkat: no inputs\n")


def test_inputs_page_after_page(stored: Path, capsys: Any) -> None:
    for arguments in (("b",), ("a", "--ended")):
        whole = listed(capsys, "inputs", *arguments)
        first = json.loads(call(capsys, "inputs", *arguments, "--limit", "1", "--json")[1])
        after = ("--after", first["next"])
        assert first["inputs"] + listed(capsys, "inputs", *arguments, *after) == whole


def test_what_an_input_says_is_shown_only_when_it_is_asked_for(stored: Path, capsys: Any) -> None:
    for json_or_not in ((), ("--json",)):
        for arguments in (("runtimes",), ("inputs", "b"), ("receipts", "a")):
            assert "secret" not in "".join(call(capsys, *arguments, *json_or_not)[1:])
        assert "secret word" in call(capsys, "inputs", "b", "--payload", *json_or_not)[1]


def test_the_receipts(stored: Path, capsys: Any) -> None:
    found = listed(capsys, "receipts", "a")
    assert [len(each["contributing_input_ids"]) for each in found] == [1, 1, 1]
    assert sorted(each["message_count"] for each in found) == [2, 4, 6]
    status, out, _ = call(capsys, "receipts", "a")
    assert status == 0
    assert len(out.splitlines()) == 4
    assert found[0]["conversation_digest"][:12] in out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("inputs", "nobody"), 1, "Runtime not found: nobody"),
        (("receipts", "nobody"), 1, "Runtime not found: nobody"),
        (("runtimes", "--after", "b"), 2, "--after: 'b' is no place that a page has named"),
        (
            ("receipts", "a", "--after", "b/c"),
            2,
            "--after: 'b/c' is no place that a page has named",
        ),
        (("inputs", "a", "--after", "b"), 2, "--after: 'b' is no place that a page has named"),
        (("inputs", "a", "--ended", "--after", "7"), 2, "--after: '7' is no place that a page"),
        (("runtimes", "--store", "sqlite:///none.db"), 3, "there is no such file"),
    ],
)
def test_what_cannot_be_listed(
    stored: Path, capsys: Any, arguments: tuple[str, ...], status: int, said: str
) -> None:
    found, out, err = call(capsys, *arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert not (stored / "none.db").exists()


def test_they_read_beside_the_owner(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
        plane.ingest("b", PromptInput("one more"))
        assert named(listed(capsys, "runtimes"))[1] == ("b", 3)


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_narrow_terminal_has_a_few_lines_for_a_row(stored: Path, columns: int) -> None:
    for arguments in (("runtimes",), ("inputs", "a", "--ended"), ("receipts", "a")):
        status, written = on_a_terminal(stored, columns, *arguments)
        assert status == 0
        assert "Traceback" not in written
    assert ("RUN " in written) == (columns == 200)
    assert len([line for line in written.splitlines() if line.startswith("run ")]) == 3
