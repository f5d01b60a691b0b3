"""``meerkat run``: what it counts, what it says, and that it does nothing twice."""

from __future__ import annotations

import functools
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cli_support import (
    ROOT,
    call,
    counts_of,
    lines_in,
    meerkat,
    messages_of,
    progress,
    prompt,
    summary_of,
    texts_of,
    write_inputs,
)

from actors import ControlPlane
from actors.cli import feeder, run
from meerkat import PromptInput
from meerkat.limits import Limits
from meerkat.store import SqliteStore

# --- the main job -----------------------------------------------------------------------


def test_a_file_is_worked_once_and_a_second_run_does_nothing(folder: Path) -> None:
    inputs = write_inputs(folder / "i.jsonl", [prompt(f"r{n % 5}", f"k{n}") for n in range(50)])
    first = meerkat("run", str(inputs), "--json", cwd=folder)
    assert (first.returncode, first.stderr) == (0, "")
    assert counts_of(first.stdout) == (50, 0, 0, 50, 0, 50, 50)
    second = meerkat("run", str(inputs), "--json", cwd=folder)
    assert (second.returncode, second.stderr) == (0, "")
    assert counts_of(second.stdout) == (0, 50, 0, 0, 0, 0, 0)
    assert (folder / "meerkat.db").stat().st_mode & 0o777 == 0o600


def test_the_example_stream_of_the_readme(folder: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "run", ROOT / "examples" / "inputs.jsonl", "--json")
    accepted, deduplicated, rejected, completed, abandoned, runs, receipts = counts_of(out)
    assert (status, err) == (0, "")
    assert (accepted, deduplicated, rejected, completed, abandoned) == (12, 0, 0, 12, 0)
    assert runs == receipts <= 12
    status, out, _ = call(capsys, "run", ROOT / "examples" / "inputs.jsonl", "--json")
    assert (status, counts_of(out)) == (0, (0, 12, 0, 0, 0, 0, 0))


def test_the_summary_for_people(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), "garbage", prompt("a", "1")])
    status, out, err = call(capsys, "run", "i.jsonl")
    rows = {line[:12].strip(): line[12:].strip() for line in out.splitlines()}
    assert status == 1
    assert float(rows.pop("seconds")) > 0
    assert {name: int(value) for name, value in rows.items()} == {
        "accepted": 1,
        "deduplicated": 1,
        "rejected": 0,
        "completed": 1,
        "abandoned": 0,
        "runs": 1,
        "receipts": 1,
        "bad lines": 1,
    }
    assert all(len(line) <= 40 for line in out.splitlines())
    assert err.startswith("meerkat: line 2: not JSON")


def test_each_runtime_keeps_the_order_of_the_file(folder: Path, capsys: Any) -> None:
    lines = [prompt(f"r{n % 3}", f"{n:03}") for n in range(90)]
    write_inputs(folder / "i.jsonl", lines)
    arguments = ("--executor", "executors:answer", "--max-concurrent-runs", "2")
    assert call(capsys, "run", "i.jsonl", *arguments)[0] == 0
    ran = lines_in(folder / "runs.log")
    for rest in range(3):
        mine = [text for text in ran if int(text) % 3 == rest]
        assert mine == sorted(mine)
        assert len(mine) == 30


def test_an_empty_file_is_done(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", ["", "   "])
    status, out, err = call(capsys, "run", "i.jsonl", "--json")
    assert (status, err, counts_of(out)) == (0, "", (0,) * 7)


def test_a_store_in_memory_leaves_nothing_behind(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    status, out, _ = call(capsys, "run", "i.jsonl", "--store", "memory:", "--json")
    assert (status, counts_of(out)) == (0, (1, 0, 0, 1, 0, 1, 1))
    assert {path.name for path in folder.iterdir()} == {"i.jsonl", "executors.py"}


def test_ephemeral_inputs_and_operations_are_counted_too(folder: Path, capsys: Any) -> None:
    operation = {
        "input_type": "operation",
        "operation_id": "00000000-0000-0000-0000-000000000001",
        "event": {"done": True},
    }
    lines = [
        prompt("a", "1", durability="ephemeral"),
        {"runtime_id": "a", "input": operation},
        prompt("a", "2"),
    ]
    write_inputs(folder / "i.jsonl", lines)
    status, out, _ = call(capsys, "run", "i.jsonl", "--json")
    assert (status, counts_of(out)) == (0, (3, 0, 0, 3, 0, 2, 2))


# --- what waits -------------------------------------------------------------------------


def test_inputs_that_wake_nobody_are_woken_at_the_end(folder: Path, capsys: Any) -> None:
    lines = [progress("a", "1"), progress("a", "2"), prompt("b", "3")]
    write_inputs(folder / "i.jsonl", lines)
    status, out, _ = call(capsys, "run", "i.jsonl", "--json")
    assert (status, counts_of(out)) == (0, (3, 0, 0, 3, 0, 2, 2))


def test_what_an_earlier_call_left_is_finished(folder: Path, capsys: Any) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        for runtime_id in ("mine", "other"):
            plane.register(runtime_id)
            plane.ingest(runtime_id, PromptInput("left", idempotency_key="left"))
    write_inputs(folder / "i.jsonl", [prompt("mine", "left"), prompt("mine", "new")])
    status, out, _ = call(capsys, "run", "i.jsonl", "--json")
    accepted, deduplicated, _, completed, _, runs, receipts = counts_of(out)
    assert (status, accepted, deduplicated) == (0, 1, 1)
    assert completed == runs == receipts
    assert completed in (2, 3)  # the other runtime's may have been taken along
    assert texts_of(messages_of(capsys, "mine")) == ["left", "new"]


def test_leftovers_that_no_line_stands_for_are_waited_for(folder: Path, capsys: Any) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        plane.register("mine")
        for number in range(5):
            plane.ingest("mine", PromptInput(f"left {number}"))
    write_inputs(folder / "i.jsonl", [prompt("mine", "new")])
    arguments = ("--executor", "executors:answer", "--json")
    status, out, _ = call(capsys, "run", "i.jsonl", *arguments)
    assert (status, counts_of(out)) == (0, (1, 0, 0, 6, 0, 6, 6))
    assert lines_in(folder / "runs.log") == [*(f"left {n}" for n in range(5)), "new"]


@pytest.mark.parametrize("line", [prompt, progress])
def test_it_waits_when_it_is_told_overloaded(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, line: Any
) -> None:
    limits = Limits(pending_inputs_max=3, in_flight_max=4)
    monkeypatch.setattr(run, "ControlPlane", functools.partial(ControlPlane, limits=limits))
    monkeypatch.setattr(feeder, "TICK_S", 0.05)
    write_inputs(folder / "i.jsonl", [line("a", f"{n:03}") for n in range(40)])
    status, out, err = call(capsys, "run", "i.jsonl", "--json")
    assert (status, err) == (0, "")
    summary = summary_of(out)
    assert (summary["accepted"], summary["completed"]) == (40, 40)
    said = "\n\n".join(texts_of(messages_of(capsys, "a"))).split("\n\n")
    assert sorted(said) == [f"{n:03}" for n in range(40)]


@pytest.mark.parametrize("line", [prompt, progress])
def test_few_inputs_of_a_runtime_wait_at_a_time(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, line: Any
) -> None:
    monkeypatch.setattr(feeder, "WAITING_A_RUNTIME_MAX", 5)
    monkeypatch.setattr(feeder, "UNDECIDED_MAX", 3)
    monkeypatch.setattr(feeder, "WAITING_MAX", 7)
    monkeypatch.setattr(feeder, "LINES_A_GROUP", 4)
    lines = [line(f"r{n % 2}", f"{n:03}") for n in range(60)]
    write_inputs(folder / "i.jsonl", lines)
    status, out, _ = call(capsys, "run", "i.jsonl", "--json")
    assert status == 0
    assert counts_of(out)[:5] == (60, 0, 0, 60, 0)
    for rest in range(2):
        said = texts_of(messages_of(capsys, f"r{rest}"))
        assert said == [f"{n:03}" for n in range(60) if n % 2 == rest]


# --- what goes wrong --------------------------------------------------------------------


def test_bad_lines_are_named_and_the_rest_goes_on(folder: Path, capsys: Any) -> None:
    lines = [
        prompt("a", "1"),
        "garbage",
        prompt("a b", "2"),
        prompt("a", "3", content="x" * 1024 * 1024),
        b"\xff",
        prompt("a", "4", durability="derived"),
        prompt("a", "5"),
    ]
    write_inputs(folder / "i.jsonl", lines)
    status, out, err = call(capsys, "run", "i.jsonl", "--json")
    assert status == 1
    assert counts_of(out) == (2, 0, 1, 2, 0, 2, 2)
    told = sorted(err.splitlines())
    assert [text.split(":")[1].strip() for text in told] == [f"line {n}" for n in range(2, 7)]
    assert "not JSON" in told[0]
    assert "bad runtime id" in told[1]
    assert "over the limit of 1048576" in told[2]
    assert "not UTF-8" in told[3]
    assert "rejected: derived durability" in told[4]
    assert texts_of(messages_of(capsys, "a")) == ["1", "5"]


def test_an_input_that_only_fails_is_given_up_and_named(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), prompt("b", "2")])
    status, out, err = call(capsys, "run", "i.jsonl", "--executor", "executors:fail", "--json")
    assert status == 1
    assert counts_of(out) == (2, 0, 0, 0, 2, 6, 0)
    assert sorted(err.splitlines()) == [
        f"meerkat: line {n}: {name}: given up: max_attempts_exhausted: ValueError: the model is out"
        for n, name in ((1, "a"), (2, "b"))
    ]
    status, out, err = call(capsys, "run", "i.jsonl", "--executor", "executors:fail", "--json")
    assert (status, err, counts_of(out)) == (0, "", (0, 2, 0, 0, 0, 0, 0))


def test_a_runtime_that_takes_no_input_is_named(folder: Path, capsys: Any) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        for runtime_id in ("stopped", "destroyed"):
            plane.register(runtime_id)
        plane.stop_runtime("stopped")
        plane.destroy("destroyed")
    lines = [prompt("destroyed", "1"), prompt("stopped", "2"), prompt("fine", "3")]
    write_inputs(folder / "i.jsonl", [*lines, prompt("destroyed", "4")])
    status, out, err = call(capsys, "run", "i.jsonl", "--json")
    assert (status, counts_of(out)) == (1, (1, 0, 0, 1, 0, 1, 1))
    assert "line 1: destroyed: Invalid state for operation: destroyed" in err
    assert "line 2: stopped: Invalid state for operation: stopped" in err
    assert "line 4: destroyed: " in err


def test_an_executor_that_stops_leaves_the_rest_for_another(folder: Path, capsys: Any) -> None:
    (folder / "leaving.py").write_text(
        "from meerkat.errors import ExecutorStopped\n"
        "def leave(context, primitive):\n    raise ExecutorStopped\n"
    )
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    status, out, err = call(capsys, "run", "i.jsonl", "--executor", "leaving:leave", "--json")
    assert (status, counts_of(out)) == (1, (1, 0, 0, 0, 0, 1, 0))
    assert "takes no more runs" in err
    status, out, _ = call(capsys, "run", "i.jsonl", "--json")
    assert (status, counts_of(out)) == (0, (0, 1, 0, 1, 0, 1, 1))


def test_foreign_text_cannot_move_the_terminal(folder: Path, capsys: Any) -> None:
    (folder / "loud.py").write_text(
        "def shout(context, primitive):\n    raise ValueError('\\x1b[2J' + 'a\\nb' + 'x' * 999)\n"
    )
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    status, _, err = call(capsys, "run", "i.jsonl", "--executor", "loud:shout")
    assert status == 1
    (line,) = err.splitlines()
    assert line.isprintable()
    assert len(line) < 600


# --- usage ------------------------------------------------------------------------------

USAGE = {
    "no command": (),
    "an unknown command": ("walk",),
    "no file": ("run",),
    "a file that is not there": ("run", "missing.jsonl"),
    "a folder for a file": ("run", "."),
    "both executors": ("run", "i.jsonl", "--executor", "a:b", "--command", "cat"),
    "zero runs": ("run", "i.jsonl", "--max-concurrent-runs", "0"),
    "runs in words": ("run", "i.jsonl", "--max-concurrent-runs", "many"),
    "an unknown store": ("run", "i.jsonl", "--store", "redis://here"),
    "a store without a file": ("run", "i.jsonl", "--store", "sqlite:///"),
    "an executor without a name": ("run", "i.jsonl", "--executor", "executors"),
    "a module that is not there": ("run", "i.jsonl", "--executor", "nowhere:answer"),
    "a name that is not there": ("run", "i.jsonl", "--executor", "executors:nobody"),
    "an executor that is none": ("run", "i.jsonl", "--executor", "executors:not_callable"),
    "a class for an executor": ("run", "i.jsonl", "--executor", "executors:Agent"),
    "an empty command": ("run", "i.jsonl", "--command", " "),
    "a command with an open quote": ("run", "i.jsonl", "--command", "cat 'x"),
    "a command that is not there": ("run", "i.jsonl", "--command", "no-such-program"),
    "show without a runtime": ("show",),
    "show with a bad runtime id": ("show", "a b"),
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_starts_nothing(folder: Path, capsys: Any, arguments: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "meerkat" in err
    assert "Traceback" not in err
    assert not (folder / "meerkat.db").exists()


def test_help_tells_all_of_it(capsys: Any) -> None:
    for arguments in (["--help"], ["run", "--help"], ["show", "--help"], ["--version"]):
        status, out, err = call(capsys, *arguments)
        assert (status, err) == (0, "")
        assert "meerkat" in out
    _, out, _ = call(capsys, "run", "--help")
    for word in ("--store", "--executor", "--command", "--max-concurrent-runs", "--json"):
        assert word in out
    assert "exit status" in out
    assert "examples" in out


# --- the store --------------------------------------------------------------------------


def test_a_second_process_is_told_who_owns_the_store(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    with ControlPlane(store=SqliteStore("meerkat.db")):
        second = meerkat("run", "i.jsonl", "--json", cwd=folder)
    assert second.returncode == 3
    assert f"process {os.getpid()}" in second.stderr
    assert "meerkat.db" in second.stderr
    assert second.stdout == ""
    assert call(capsys, "run", "i.jsonl")[0] == 0


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"hello, this is a letter, not a database\n" * 99)


def _of_somebody_else(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


def _from_a_newer_schema(path: Path) -> None:
    with ControlPlane(store=SqliteStore(path)) as plane:
        plane.register("a")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("make", [_not_a_database, _of_somebody_else, _from_a_newer_schema])
@pytest.mark.parametrize("arguments", [("run", "i.jsonl"), ("show", "a")])
def test_a_file_that_is_not_ours_is_refused_unchanged(
    folder: Path, capsys: Any, make: Any, arguments: Any
) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    database = folder / "meerkat.db"
    make(database)
    before = database.read_bytes()
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (3, "")
    assert "meerkat.db" in err
    assert "Traceback" not in err
    assert database.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    status, _, err = call(capsys, "run", "i.jsonl", "--store", "sqlite:///no/such/x.db")
    assert status == 3
    assert "no/such/x.db" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    sealed = folder / "sealed"
    sealed.mkdir(mode=0o500)
    status, _, err = call(capsys, "run", "i.jsonl", "--store", f"sqlite:///{sealed}/x.db")
    assert status == 3
    assert "sealed/x.db" in err


def test_a_store_that_fails_in_mid_run_ends_it_and_the_next_call_goes_on(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", f"k{n}") for n in range(20)])
    commit_many, commits = SqliteStore.commit_many, []

    def failing(self: SqliteStore, batches: Any) -> Any:
        commits.append(batches)
        if len(commits) > 8:
            return self._transact(lambda writer: writer.execute("INSERT INTO nowhere VALUES (1)"))
        return commit_many(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit_many", failing)
        status, out, err = call(capsys, "run", "i.jsonl", "--json")
    assert status == 3
    assert "meerkat.db" in err
    assert "run the same command again: meerkat run i.jsonl --json" in err
    first = summary_of(out)
    status, out, _ = call(capsys, "run", "i.jsonl", "--json")
    second = summary_of(out)
    assert status == 0
    assert first["completed"] + second["completed"] == 20
    assert first["receipts"] + second["receipts"] == 20
    assert texts_of(messages_of(capsys, "a")) == [f"k{n}" for n in range(20)]


def test_one_unreadable_runtime_does_not_stop_the_others(folder: Path, capsys: Any) -> None:
    with ControlPlane(store=SqliteStore("meerkat.db")) as plane:
        plane.register("broken")
        plane.ingest("broken", PromptInput("x", idempotency_key="x"))
    with sqlite3.connect("meerkat.db") as connection:
        connection.execute("UPDATE inputs SET state = '{}'")
    connection.close()
    lines = [prompt("broken", "1"), prompt("fine", "2"), prompt("fine", "3")]
    write_inputs(folder / "i.jsonl", lines)
    status, out, err = call(capsys, "run", "i.jsonl", "--json")
    assert (status, counts_of(out)) == (1, (2, 0, 0, 2, 0, 2, 2))
    assert "broken: Store error: Recovery corruption: " in err


# --- counting ---------------------------------------------------------------------------


def test_a_run_that_is_retried_counts_each_call(folder: Path, capsys: Any) -> None:
    (folder / "flaky.py").write_text(
        "from meerkat import RunOutput\n"
        "def second_time(context, primitive):\n"
        "    if context.attempt == 1: raise ValueError('not yet')\n"
        "    return RunOutput(result='done')\n"
    )
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), prompt("b", "2")])
    arguments = ("--executor", "flaky:second_time", "--json")
    status, out, err = call(capsys, "run", "i.jsonl", *arguments)
    assert (status, err, counts_of(out)) == (0, "", (2, 0, 0, 2, 0, 4, 2))


def test_a_superseded_input_is_neither_completed_nor_abandoned(folder: Path, capsys: Any) -> None:
    lines = [prompt("a", "1")]
    lines += [prompt("a", f"s{n}", supersession_key="status") for n in range(3)]
    write_inputs(folder / "i.jsonl", lines)
    arguments = ("--executor", "executors:answer", "--json")
    os.environ["RUN_S"] = "0.5"
    try:
        status, out, _ = call(capsys, "run", "i.jsonl", *arguments)
    finally:
        del os.environ["RUN_S"]
    assert (status, counts_of(out)) == (0, (4, 0, 0, 2, 0, 2, 2))
    assert lines_in(folder / "runs.log") == ["1", "s2"]


def test_an_output_is_json_whatever_is_in_it(folder: Path) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1", content="Grüße 😀\x1b[2J")])
    assert meerkat("run", "i.jsonl", cwd=folder).returncode == 0
    shown = meerkat("show", "a", "--messages", "--json", cwd=folder, PYTHONIOENCODING="ascii")
    assert texts_of(json.loads(shown.stdout)["messages"]) == ["Grüße 😀\x1b[2J"]
    shown = meerkat("show", "a", "--messages", cwd=folder, PYTHONIOENCODING="ascii:strict")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout
