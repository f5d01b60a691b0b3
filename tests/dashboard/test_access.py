"""The access file as a command reads it: believed only where nobody else could have written it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.access import ACCESS_BYTES_MAX, Access, AccessDistrusted, access_path, access_to

GOOD: dict[str, Any] = {
    "url": "http://127.0.0.1:8000/",
    "token": "t" * 20,
    "pid": 1,
    "allow_actions": False,
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def written(database: Path, document: Any, mode: int = 0o600) -> Path:
    file = access_path(database)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    file.chmod(mode)
    return file


def test_what_is_written_is_read(database: Path) -> None:
    written(database, GOOD)
    access = access_to(database)
    assert access == Access(**GOOD)
    assert access.owner == "process 1"
    assert access.token not in repr(access)


def test_without_a_file_there_is_no_page(database: Path) -> None:
    assert access_to(database) is None


def test_what_an_ended_process_has_left_counts_as_none(database: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True
    )
    written(database, {**GOOD, "pid": int(ended.stdout)})
    assert access_to(database) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666, 0o610])
def test_a_file_that_others_may_use_is_not_believed(database: Path, mode: int) -> None:
    written(database, GOOD, mode)
    with pytest.raises(AccessDistrusted, match="by others"):
        access_to(database)


def test_a_file_of_somebody_else_is_not_believed(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(database, GOOD)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(AccessDistrusted, match="somebody else"):
        access_to(database)
    database.touch()  # root looks after the databases of others
    assert access_to(database) == Access(**GOOD)


def test_a_link_or_a_folder_is_not_believed(database: Path) -> None:
    file = written(database, GOOD)
    file.rename(database)
    file.symlink_to(database)
    with pytest.raises(AccessDistrusted):
        access_to(database)
    file.unlink()
    file.mkdir(mode=0o700)
    with pytest.raises(AccessDistrusted, match="no ordinary file"):
        access_to(database)


def test_a_pipe_in_its_place_is_not_waited_for(database: Path) -> None:
    os.mkfifo(access_path(database), 0o600)
    with pytest.raises(AccessDistrusted, match="no ordinary file"):
        access_to(database)


BAD: list[Any] = [
    "",
    "{",
    "[]",
    "5",
    *({name: value for name, value in GOOD.items() if name != lacking} for lacking in GOOD),
    {**GOOD, "url": "file:///etc/passwd"},
    {**GOOD, "url": "http://localhost/"},
    {**GOOD, "url": "http://localhost:port/"},
    {**GOOD, "url": 5},
    {**GOOD, "token": "two\nlines"},
    {**GOOD, "token": "\u00fc"},
    {**GOOD, "pid": "5"},
    {**GOOD, "pid": True},
    {**GOOD, "allow_actions": 1},
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_another_text_is_refused_with_what_to_do(database: Path, number: int) -> None:
    written(database, BAD[number])
    with pytest.raises(AccessDistrusted, match="delete it"):
        access_to(database)


def test_no_more_is_read_than_such_a_file_may_have(database: Path) -> None:
    written(database, json.dumps(GOOD) + " " * ACCESS_BYTES_MAX + "{")
    assert access_to(database) == Access(**GOOD)


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**60])
def test_a_number_that_names_no_process_counts_as_none(database: Path, pid: int) -> None:
    written(database, {**GOOD, "pid": pid})
    assert access_to(database) is None
