"""``meerkat doctor`` and ``meerkat backup``: what is wrong is named, and nothing is changed."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, prompt, write_inputs

from actors import ControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.limits import Retention
from meerkat.store import SqliteStore

Wrong = Callable[[sqlite3.Connection], object]


@pytest.fixture
def stored(folder: Path, capsys: Any) -> Path:
    """Two sessions that have been worked; one of them has an input that waits."""
    write_inputs(folder / "i.jsonl", [prompt(r, f"{r}{n}") for r in "ab" for n in range(3)])
    assert call(capsys, "run", "i.jsonl")[0] == 0
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.ingest("b", PromptInput("later"))
    return folder


def look_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file, but for the empty log and the shared memory that reading it needs."""
    files = [each for each in folder.iterdir() if each.suffix != ".db-shm"]
    looks = {each.name: (each.stat().st_mode, each.read_bytes()) for each in files}
    return {name: look for name, look in looks.items() if look[1] or not name.endswith("-wal")}


def findings(capsys: Any) -> list[dict[str, Any]]:
    status, out, err = call(capsys, "doctor", "--json")
    assert err == ""
    found: list[dict[str, Any]] = json.loads(out)["findings"]
    assert status == (1 if found else 0)
    return found


def test_a_sound_database_has_no_finding(stored: Path, capsys: Any) -> None:
    before = look_of(stored)
    status, out, err = call(capsys, "doctor")
    assert (status, out) == (0, "")
    assert "2 runtimes, 7 inputs, 6 receipts, 12 messages; 0 findings" in err
    assert findings(capsys) == []
    assert look_of(stored) == before


def change(statement: str) -> Wrong:
    return lambda database: database.execute(statement)


def swap_the_last_words(database: sqlite3.Connection) -> None:
    database.execute("UPDATE messages SET body = replace(body, 'a2', 'A2') WHERE runtime_id = 'a'")


PLANTED: dict[str, tuple[Wrong, str, str, str]] = {
    "an input that cannot be read": (
        change("UPDATE inputs SET state = '{' WHERE idempotency_key = 'a1'"),
        "input",
        "a",
        "input ",
    ),
    "an input whose column says another phase": (
        change("UPDATE inputs SET phase = 'queued' WHERE idempotency_key = 'a1'"),
        "input",
        "a",
        "phase column 'queued'",
    ),
    "an input that is found under another number": (
        change("UPDATE inputs SET admission_sequence = 9 WHERE idempotency_key IS NULL"),
        "input",
        "b",
        "its column says number 9, its state 3",
    ),
    "an input that is found under another key": (
        change("UPDATE inputs SET idempotency_key = 'z' WHERE idempotency_key = 'b0'"),
        "input",
        "b",
        "its column says key 'z', its state 'b0'",
    ),
    "an end that the column does not know": (
        change("UPDATE inputs SET outcome = NULL WHERE idempotency_key = 'b0'"),
        "input",
        "b",
        "its column says it has not ended",
    ),
    "a missing receipt": (
        change("DELETE FROM receipts WHERE runtime_id = 'a' AND message_count = 2"),
        "receipt",
        "a",
        "no such receipt",
    ),
    "a hole in the receipts of a run": (
        change("UPDATE receipts SET sequence = 1 WHERE runtime_id = 'a' AND message_count = 4"),
        "receipt",
        "a",
        "has no receipt 0",
    ),
    "a receipt that cannot be read": (
        change("UPDATE receipts SET boundary = '?' WHERE runtime_id = 'a' AND message_count = 4"),
        "receipt",
        "a",
        "receipt ",
    ),
    "a message that was changed": (
        swap_the_last_words,
        "messages",
        "a",
        "none of 3 receipts proves the 6 messages",
    ),
    "messages that are no JSON": (
        change("UPDATE messages SET body = '[{]' WHERE runtime_id = 'b' AND position = 0"),
        "messages",
        "b",
        "",
    ),
    "messages that are fewer than counted": (
        change("UPDATE messages SET body = '[{}]' WHERE runtime_id = 'b' AND position = 0"),
        "messages",
        "b",
        "there are 5, and 6 were counted",
    ),
    "a runtime that cannot be read": (
        change("UPDATE runtimes SET state = 'lost' WHERE runtime_id = 'b'"),
        "runtime",
        "b",
        "'lost'",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_named(stored: Path, capsys: Any, name: str) -> None:
    plant, part, runtime_id, text = PLANTED[name]
    with sqlite3.connect(stored / "meerkat.db") as database:
        plant(database)
    database.close()
    before = look_of(stored)
    found = findings(capsys)
    assert any(
        (each["part"], each["runtime_id"]) == (part, runtime_id) and text in each["found"]
        for each in found
    ), found
    assert all(each["runtime_id"] == runtime_id for each in found)
    status, out, _ = call(capsys, "doctor")
    assert status == 1
    assert f"\n{part}: " in out  # what to do
    assert look_of(stored) == before


def test_damage_to_an_index_is_named(stored: Path, capsys: Any) -> None:
    with sqlite3.connect(stored / "meerkat.db") as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'inputs_active'")
    database.close()
    assert {each["part"] for each in findings(capsys)} >= {"file"}


def test_a_file_that_others_may_read_is_named(stored: Path, capsys: Any) -> None:
    (stored / "meerkat.db").chmod(0o644)
    (finding,) = findings(capsys)
    assert (finding["part"], finding["runtime_id"]) == ("access", None)
    assert "0644" in finding["found"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def claim(pragma: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with sqlite3.connect(path) as database:
            database.execute(pragma)
        database.close()

    return make


def another_s(path: Path) -> None:
    path.unlink()
    claim("CREATE TABLE books (title)")(path)
    path.chmod(0o600)


NOT_OURS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "cut short": (cut, "file", "malformed"),
    "cut in its first page": (cut_short, "file", "not a database"),
    "no database": (lambda path: path.write_bytes(b"no database" * 1000), "file", "not a database"),
    "from a newer one": (claim("PRAGMA user_version = 999"), "schema", "from a newer meerkat"),
    "marked by another": (claim("PRAGMA application_id = 5"), "schema", "another application's"),
    "another's": (another_s, "schema", "another application's"),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_file_that_is_damaged_or_not_ours_is_named_and_not_touched(
    stored: Path, capsys: Any, name: str
) -> None:
    damage, part, text = NOT_OURS[name]
    damage(stored / "meerkat.db")
    before = look_of(stored)
    (found,) = findings(capsys)
    assert (found["part"], found["runtime_id"]) == (part, None)
    assert text in found["found"]
    status, out, err = call(capsys, "doctor")
    assert status == 1
    assert f"{part}: {found['found']}\n" in out
    assert f"\n{part}: " in out.split("\n", 1)[1]  # what to do
    assert "looked at nothing of it; 1 finding\n" in err
    assert look_of(stored) == before


@pytest.mark.parametrize("name", ["cut short", "cut in its first page", "no database"])
def test_whoever_meets_a_damaged_file_is_led_here(stored: Path, capsys: Any, name: str) -> None:
    NOT_OURS[name][0](stored / "meerkat.db")
    for command in (("runtimes",), ("show", "a"), ("stop", "a", "--yes"), ("backup", "b.db")):
        status, _, err = call(capsys, *command)
        assert (status, "; meerkat doctor says what to do\n" in err) == (3, True), err


def test_a_file_that_cannot_be_opened_says_nothing_of_what_is_in_it(
    stored: Path, capsys: Any
) -> None:
    (stored / "other.db").symlink_to("meerkat.db")
    status, out, err = call(capsys, "doctor", "--store", "sqlite:///other.db")
    assert (status, out) == (3, "")
    assert "symbolic link" in err


def test_a_folder_is_no_database_with_findings(stored: Path, capsys: Any) -> None:
    (stored / "other.db").mkdir()
    status, out, err = call(capsys, "doctor", "--store", "sqlite:///other.db")
    assert (status, out) == (3, "")
    assert "is not a file" in err


def test_a_past_that_was_cut_down_is_no_finding(stored: Path, capsys: Any) -> None:
    store = SqliteStore(stored / "meerkat.db")
    pruned = store.prune(Retention(max_count=1), datetime.now(UTC))
    store.close()
    assert pruned.receipts
    assert findings(capsys) == []


def test_it_looks_beside_the_owner(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db"), answer) as plane:
        plane.ingest("b", PromptInput("one more"))
        assert findings(capsys) == []


def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "assistant", "content": primitive.text}])


# --- backup -----------------------------------------------------------------------------


def test_a_backup_is_the_whole_of_what_was_committed(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
        plane.ingest("a", PromptInput("just now"))
        status, out, _ = call(capsys, "backup", "copy.db", "--json")
        assert status == 0
        plane.ingest("a", PromptInput("too late"))
    made = stored / "copy.db"
    assert json.loads(out) == {"file": str(made), "bytes": made.stat().st_size}
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert not list(stored.glob("copy.db-*"))
    copied = ("--store", "sqlite:///copy.db")
    assert call(capsys, "doctor", *copied)[0] == 0
    listed = json.loads(call(capsys, "inputs", "a", "--payload", "--json", *copied)[1])
    assert [each["payload"]["content"] for each in listed["inputs"]] == ["just now"]


def test_a_backup_takes_the_place_of_no_file(stored: Path, capsys: Any) -> None:
    (stored / "copy.db").write_text("mine")
    status, _, err = call(capsys, "backup", "copy.db")
    assert status == 3
    assert "is there already" in err
    assert (stored / "copy.db").read_text() == "mine"


@pytest.mark.parametrize("target", ["none/copy.db", "meerkat.db"])
def test_a_backup_that_fails_leaves_nothing(stored: Path, capsys: Any, target: str) -> None:
    before = look_of(stored)
    status, _, err = call(capsys, "backup", target)
    assert status == 3
    assert err.startswith("meerkat: ")
    assert look_of(stored) == before
