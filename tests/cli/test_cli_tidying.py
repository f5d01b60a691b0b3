"""``meerkat prune`` and ``meerkat vacuum``: by hand, on a database that nobody has in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, prompt, write_inputs

from actors import ControlPlane
from meerkat.store import SqliteStore


@pytest.fixture
def stored(folder: Path, capsys: Any) -> Path:
    """Twenty inputs of some size have been worked."""
    lines = [prompt("a", f"k{n}", f"{n}" * 20_000) for n in range(20)]
    write_inputs(folder / "i.jsonl", lines)
    assert call(capsys, "run", "i.jsonl")[0] == 0
    return folder


def test_what_is_past_a_count_goes_and_stays_known(stored: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "prune", "--max-count", "5", "--yes", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"inputs": 15, "receipts": 15, "operations": 0}
    assert len(json.loads(call(capsys, "receipts", "a", "--json")[1])["receipts"]) == 5
    again = call(capsys, "run", "i.jsonl", "--json")
    assert json.loads(again[1])["deduplicated"] == 20
    assert call(capsys, "prune", "--max-count", "5", "--yes")[1].startswith("0 inputs")
    assert call(capsys, "doctor")[0] == 0


def test_what_is_younger_stays(stored: Path, capsys: Any) -> None:
    status, out, _ = call(capsys, "prune", "--max-age-days", "1", "--yes", "--json")
    assert (status, json.loads(out)["inputs"]) == (0, 0)


def test_the_file_becomes_smaller_and_says_the_same(stored: Path, capsys: Any) -> None:
    assert call(capsys, "prune", "--max-count", "1", "--yes")[0] == 0
    shown = call(capsys, "show", "a", "--messages", "--json")[1]
    status, out, _ = call(capsys, "vacuum", "--json")
    sizes = json.loads(out)
    assert status == 0
    assert sizes["bytes"] == (stored / "meerkat.db").stat().st_size
    assert sizes["bytes"] < sizes["bytes_before"] - 15 * 20_000
    assert call(capsys, "show", "a", "--messages", "--json")[1] == shown
    assert call(capsys, "doctor")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("prune", "--yes"), 2, "say what is kept"),
        (("prune", "--max-count", "1"), 2, "say --yes"),
        (("prune", "--max-count", "0", "--yes"), 2, "is not a positive number"),
        (("vacuum", "--store", "sqlite:///none.db"), 3, "there is no such file"),
        (("vacuum", "--store", "memory:"), 2, "about a database file"),
    ],
)
def test_what_is_refused(
    stored: Path, capsys: Any, arguments: tuple[str, ...], status: int, said: str
) -> None:
    before = (stored / "meerkat.db").read_bytes()
    found, out, err = call(capsys, *arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert (stored / "meerkat.db").read_bytes() == before


@pytest.mark.parametrize("arguments", [("prune", "--max-count", "1", "--yes"), ("vacuum",)])
def test_nothing_is_done_behind_the_back_of_an_owner(
    stored: Path, capsys: Any, arguments: tuple[str, ...]
) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")):
        status, _, err = call(capsys, *arguments)
    assert status == 3
    assert "in use by" in err
