"""Mistakes at the command line: whoever makes one reads what to say instead, and no traceback."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, environment, prompt, write_inputs

MANY = "9" * 20


@pytest.fixture
def stored(folder: Path, capsys: Any) -> Path:
    """A database with one runtime, ``a``."""
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    assert call(capsys, "run", "i.jsonl")[0] == 0
    return folder


@pytest.mark.parametrize(
    ("said_by", "arguments"),
    [
        ("--store", ("runtimes", "--store", "postgresql://127.0.0.1:1/x")),
        ("--store", ("run", "i.jsonl", "--store", "postgresql://127.0.0.1:1/x")),
        ("TO", ("copy", "sqlite:///meerkat.db", "postgresql://127.0.0.1:1/x")),
    ],
)
def test_a_database_elsewhere_says_what_is_to_be_installed(
    stored: Path, said_by: str, arguments: tuple[str, ...]
) -> None:
    without = "import sys; sys.modules['psycopg'] = None; from actors.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", without + "sys.exit(main())", *arguments],
        capture_output=True,
        text=True,
        cwd=stored,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    needs = "meerkat.store.PostgresStore needs psycopg: pip install "
    assert done.stderr.startswith(f"meerkat: {said_by}: {needs}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("runtimes", "--limit", MANY),
        ("inputs", "a", "--limit", MANY),
        ("receipts", "a", "--limit", MANY),
        ("events", "--limit", MANY),
        ("prune", "--yes", "--max-count", "1" * 5000),
    ],
)
def test_a_number_that_no_store_counts_to_is_wrong_usage(
    stored: Path, capsys: Any, arguments: tuple[str, ...]
) -> None:
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "has more than 15 digits" in err


def test_the_largest_number_is_taken(stored: Path, capsys: Any) -> None:
    for listing in (("runtimes",), ("inputs", "a"), ("receipts", "a"), ("events",)):
        assert call(capsys, *listing, "--limit", "0" * 9 + "9" * 15)[0] == 0


@pytest.mark.parametrize("others", ["bob", "--bogus"])
def test_what_a_command_does_not_take_is_refused_with_its_own_usage(
    folder: Path, capsys: Any, others: str
) -> None:
    status, out, err = call(capsys, "show", "a", others)
    assert (status, out) == (2, "")
    assert err == (
        f"usage: meerkat show RUNTIME [options]\nmeerkat show: error: it does not take {others}\n"
    )


def test_whoever_meets_another_application_s_file_is_led_to_the_doctor(
    folder: Path, capsys: Any
) -> None:
    with closing(sqlite3.connect("meerkat.db")) as other:
        other.execute("CREATE TABLE books (title)")
    for command in (("runtimes",), ("show", "a"), ("stop", "a", "--yes"), ("backup", "b.db")):
        status, _, err = call(capsys, *command)
        assert status == 3
        assert err.endswith("is another application's database; meerkat doctor says what to do\n")
    assert "\nschema: it is another application's database\n" in call(capsys, "doctor")[1]
