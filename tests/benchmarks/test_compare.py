"""The comparison with the peers: it runs, and no figure stands for less than its row says.

Timings are not tested. What needs no extra is measured for real, with a handful of items.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import compare
import pytest
from compare_jobs import NotWhatItSays, measure
from compare_report import report
from peers import catalogue
from peers.base import make_items
from peers.pykka_peer import PykkaPeer
from peers.raw_sqlite import RawCommit, RawSqlite

FEW = 20
TIMES = "×"  # noqa: RUF001 - the sign for a ratio
OURS_AND_FLOORS = {
    ("pipelined", "meerkat"),
    ("pipelined", "raw-1"),
    ("pipelined", "raw-500"),
    ("pipelined", "meerkat-memory"),
    ("pipelined", "pykka"),
    ("callers", "meerkat"),
    ("callers", "raw-1"),
    ("callers", "pykka"),
    ("one", "meerkat"),
    ("one", "raw-1"),
    ("one", "pykka"),
    ("ingest", "meerkat"),
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, compare.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def result(job: str, name: str, *values: float) -> list[dict[str, Any]]:
    return [
        {"round": number, "job": job, "name": name, "value": value}
        for number, value in enumerate(values)
    ]


def failed(job: str, name: str, error: str) -> list[dict[str, Any]]:
    return [{"round": 0, "job": job, "name": name, "error": error}]


def results(*figures: list[dict[str, Any]]) -> dict[str, Any]:
    surroundings = {
        "python": "3.11",
        "sqlite": "3.40",
        "cores": 2,
        "system": "Linux",
        "file_system": "ext4",
        "versions": {"litequeue": "0.9"},
    }
    return {"surroundings": surroundings, "figures": [one for each in figures for one in each]}


def line_of(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_ours_and_the_floors_are_measured_checked_and_saved(tmp_path: Path) -> None:
    saved = tmp_path / "figures.json"
    names = "raw-1,raw-500,meerkat-memory,pykka"
    done = run("--items=0.002", "--rounds=1", f"--only={names}", f"--json={saved}")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(saved.read_text())["figures"]
    assert {(figure["job"], figure["name"]) for figure in figures} == OURS_AND_FLOORS
    for figure in figures:
        assert figure["value"] > 0
        in_memory = figure["name"] in {"meerkat-memory", "pykka"}
        assert figure["durability"] == ([] if in_memory else [["wal", 2]])
    assert all(("beside" in figure) == (figure["job"] == "ingest") for figure in figures)
    comparable, weaker = done.stdout.split("Weaker durability, not comparable")
    assert "bare Pykka" not in comparable
    assert TIMES not in weaker


def test_a_peer_whose_library_is_missing_is_shown_as_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for needs in ({"no_such_library": "none"}, {"no_such_package.part": "none"}):
        monkeypatch.setitem(
            catalogue.ENTRIES, "litequeue", catalogue.Entry("litequeue", "none:None", needs)
        )
        figure = compare.one_child("litequeue", "pipelined", FEW)
        assert figure == {"error": "not installed"}
        text = report(results([{"round": 0, "job": "pipelined", "name": "litequeue", **figure}]))
        assert "not installed" in line_of(text, "litequeue")


def test_a_peer_that_fails_is_shown_with_its_error_and_in_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "figures.json"
    error = "OperationalError: database is locked by somebody"
    saved.write_text(json.dumps(results(failed("pipelined", "huey", error))))
    assert compare.main([f"--from={saved}"]) == 1
    shown = capsys.readouterr().out
    assert "failed" in line_of(shown, "huey, SqliteHuey  ")
    assert error in shown
    saved.write_text(json.dumps(results(failed("pipelined", "huey", "not installed"))))
    assert compare.main([f"--from={saved}"]) == 0


def test_an_error_in_a_measurement_is_what_the_row_shows() -> None:
    figure = compare.one_child("raw-500", "no such job", FEW)
    assert figure == {"error": "KeyError: 'no such job'"}


def measured(peer: type, folder: Path, job: str = "pipelined") -> dict[str, Any]:
    class Loaded(catalogue.Entry):
        def load(self) -> Any:
            return peer

    return measure(Loaded("a peer", "none:None"), job, FEW, folder)


def test_weaker_durability_is_no_figure(tmp_path: Path) -> None:
    class Normal(RawSqlite):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self._connection.execute("PRAGMA synchronous = NORMAL")

    with pytest.raises(NotWhatItSays, match=r"\('wal', 1\)"):
        measured(Normal, tmp_path)


def test_one_weak_connection_among_others_is_no_figure(tmp_path: Path) -> None:
    class WeakHelper(RawSqlite):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.helper = sqlite3.connect(self.file)
            self.helper.execute("PRAGMA synchronous = OFF")

    with pytest.raises(NotWhatItSays, match=r"\('wal', 0\), \('wal', 2\)"):
        measured(WeakHelper, tmp_path)


def test_nothing_to_look_at_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(NotWhatItSays, match="are \\[\\]"):
        measured(PykkaPeer, tmp_path)


@pytest.mark.parametrize("times", [0, 2])
def test_items_that_are_lost_or_run_twice_are_no_figure(tmp_path: Path, times: int) -> None:
    class Careless(RawSqlite):
        def answer(self, text: str) -> str:
            for _ in range(times if '"number": 7,' in text else 1):
                super().answer(text)
            return "noted"

    with pytest.raises(NotWhatItSays, match="runs of"):
        measured(Careless, tmp_path)


def test_items_that_are_not_complete_in_the_file_are_no_figure(tmp_path: Path) -> None:
    class Forgetful(RawSqlite):
        def complete_all(self, items: Any, ids: Any) -> None:
            if items[0].number != FEW + 3:
                super().complete_all(items, ids)

    with pytest.raises(NotWhatItSays, match=f"{2 * FEW} items, {2 * FEW - 1} complete"):
        measured(Forgetful, tmp_path)


def test_an_error_of_one_caller_is_the_error_of_the_measurement(tmp_path: Path) -> None:
    class Failing(RawSqlite):
        def call(self, item: Any) -> None:
            if item.number == FEW + 3:
                raise ValueError("the disk is full")
            super().call(item)

    with pytest.raises(ValueError, match="the disk is full"):
        measured(Failing, tmp_path, "callers")


def test_items_are_500_bytes_each_and_dealt_to_the_sessions() -> None:
    items = make_items(990, 200, 100)
    assert {len(item.text) for item in items} == {500}
    assert len({item.text for item in items}) == 200
    assert len({item.session for item in items}) == 100
    assert [json.loads(item.text)["number"] for item in items] == list(range(990, 1190))


def test_ratios_are_taken_within_a_round_and_the_median_is_shown() -> None:
    ours = result("pipelined", "meerkat", 100.0, 400.0, 900.0)
    theirs = result("pipelined", "litequeue", 100.0, 200.0, 100.0)
    text = report(results(ours, theirs))
    row = line_of(text, "litequeue")
    assert row.split() == f"litequeue 100 100 to 200 2.00 {TIMES} 1.00 to 9.00".split()
    assert "short by 67%" in line_of(text, "pipelined over 100 sessions, to litequeue")


@pytest.mark.parametrize(
    ("job", "below", "ours", "theirs", "verdict"),
    [
        ("pipelined", "litequeue", 1500.0, 100.0, "aim reached"),
        ("pipelined", "litequeue", 600.0, 100.0, " reached"),
        ("pipelined", "litequeue", 300.0, 100.0, "short by 50%"),
        ("ingest", "raw-commit", 1.5, 1.0, "aim reached"),
        ("ingest", "raw-commit", 2.5, 1.0, " reached"),
        ("ingest", "raw-commit", 5.0, 1.0, "over by 100%"),
    ],
)
def test_a_goal_says_how_far_it_is(
    job: str, below: str, ours: float, theirs: float, verdict: str
) -> None:
    figures = results(result(job, "meerkat", ours), result(job, below, theirs))
    if job == "ingest":
        figures = results([{**one, "beside": theirs} for one in result(job, "meerkat", ours)])
    text = report(figures)
    goals = text.split("What is to be reached")[1]
    assert verdict in goals
    assert ("aim" in verdict) == ("aim reached" in goals)


def test_markdown_has_the_rows_of_the_text() -> None:
    figures = results(
        result("one", "meerkat", 300.0, 330.0), result("one", "litequeue", 100.0, 110.0)
    )
    text = report(figures, markdown=True)
    assert f"| litequeue | 105 | 100 to 110 | 3.00 {TIMES} | 3.00 to 3.00 |" in text.splitlines()


def test_a_name_nobody_knows_is_refused_with_the_names_there_are() -> None:
    done = run("--only=litequeue,sidekiq")
    assert done.returncode == 2
    assert "no sidekiq; there are meerkat, " in done.stderr


def test_the_raw_commit_writes_over_its_log_as_a_warm_peer_does(tmp_path: Path) -> None:
    raw = RawCommit(tmp_path)
    log = raw.file.with_name(raw.file.name + "-wal")
    full = log.stat().st_size
    for item in make_items(0, 50, 100):
        raw.accept(item)
    assert log.stat().st_size == full
    raw.close()
