"""Slower syncs: they are slower for everybody, what shows the figures says so, or there are none.

The one bound on a time is what the option promises, and from below: it takes at least as long.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import compare
import pytest
import slower_syncs
from slower_syncs import NotSlower, SlowerSyncs
from test_compare import OURS_AND_FLOORS, result, results, run

MS = 20.0
SLOWER = f"each sync made {MS:g} ms slower"
needs_a_compiler = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which(slower_syncs.COMPILER) is None,
    reason="making syncs slower takes Linux and a C compiler",
)


@needs_a_compiler
def test_every_sync_of_every_measurement_is_slower_and_what_shows_it_says_so(
    tmp_path: Path,
) -> None:
    saved = tmp_path / "figures.json"
    few = ["--items=0.002", "--rounds=1", "--only=raw-1,raw-500,meerkat-memory"]
    done = run(f"--sync-ms={MS:g}", *few, f"--json={saved}")
    assert done.returncode == 0, done.stdout + done.stderr
    taken = json.loads(saved.read_text())
    around = taken["surroundings"]
    assert around["each_sync_slower_ms"] == MS
    assert around["raw_commit_slower_ms"] >= MS
    figures = {(each["job"], each["name"]): each for each in taken["figures"]}
    assert set(figures) == {key for key in OURS_AND_FLOORS if key[1] != "pykka"}
    for (job, name), figure in figures.items():
        assert "error" not in figure
        if name == "meerkat-memory":
            assert figure["syncs"] == 0
        elif job == "ingest":
            assert min(figure["value"], figure["beside"]) >= MS
        elif job == "one" or name == "raw-1":  # each item waits for two syncs of its own
            assert figure["syncs"] >= 2
            assert figure["value"] <= 1000 / (2 * MS)
        else:
            assert figure["syncs"] > 0
    titles = done.stdout.split("\n\n")[::2]
    assert len(titles) >= len(compare.COMPARISONS["sqlite"].jobs)
    assert all(SLOWER in title.lower() for title in titles)
    assert SLOWER in run(f"--from={saved}", "--markdown").stdout


@pytest.mark.parametrize("others", [["--store=postgres"], ["--from=figures.json"]])
def test_it_is_refused_where_it_would_say_what_is_not_so(others: list[str]) -> None:
    done = run(f"--sync-ms={MS:g}", *others)
    assert done.returncode == 2
    assert others[0].split("=")[0] in done.stderr.splitlines()[-1]
    assert not done.stdout


@pytest.mark.parametrize("ms", ["0", "-1", "nan", "inf", "soon"])
def test_a_wait_that_is_none_is_refused(ms: str) -> None:
    with pytest.raises(SystemExit):
        compare.options_of([f"--sync-ms={ms}"])


def test_without_a_compiler_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slower_syncs, "COMPILER", "no-such-compiler")
    with pytest.raises(SystemExit, match="takes Linux and a C compiler, `no-such-compiler`"):
        compare.main([f"--sync-ms={MS:g}"])
    assert not capsys.readouterr().out


@needs_a_compiler
@pytest.mark.parametrize(
    ("ms", "what", "instead"),
    [
        (MS, "nanosleep(&left, &left)", "0"),
        (MS, "WAIT_NS / 1000000000L, WAIT_NS % 1000000000L", "0, WAIT_NS / 1000"),
        (MS, "int fdatasync(", "int fdatasync_of_another_name("),
        (MS / 100_000, "int fdatasync(", "int fdatasync_of_another_name("),
    ],
)
def test_a_wait_that_is_not_seen_is_no_wait(
    monkeypatch: pytest.MonkeyPatch, ms: float, what: str, instead: str
) -> None:
    assert what in slower_syncs.SOURCE
    monkeypatch.setattr(slower_syncs, "SOURCE", slower_syncs.SOURCE.replace(what, instead))
    seen = f"0 of {slower_syncs.COMMITS} commits"
    with pytest.raises(NotSlower, match=seen), slower_syncs.slower_syncs(ms):
        pass


@needs_a_compiler
def test_each_of_the_calls_that_sync_is_slower_and_syncs(tmp_path: Path) -> None:
    script = (
        "import os, slower_syncs, sys, time\n"
        "file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)\n"
        "for call, its in ((os.fsync, file), (os.fdatasync, file), (os.fsync, os.pipe()[0])):\n"
        "    before, began = slower_syncs.syncs_made_slower(), time.perf_counter()\n"
        "    try: call(its); error = 0\n"
        "    except OSError as failed: error = failed.errno\n"
        "    took = time.perf_counter() - began\n"
        "    print(took * 1000, slower_syncs.syncs_made_slower() - before, error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    with slower_syncs.slower_syncs(MS) as slower:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env=slower.environment,
            cwd=Path(slower_syncs.__file__).parent,
        )
    found = [line.split() for line in done.stdout.splitlines()]
    assert all(float(took) >= MS for took, _, _ in found)
    assert [(int(syncs), int(error)) for _, syncs, error in found] == [
        (1, 0),
        (1, 0),
        (1, errno.EINVAL),
    ]


@needs_a_compiler
def test_a_library_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slower_syncs, "SOURCE", "#error no such disk")
    with pytest.raises(NotSlower, match="no such disk"), slower_syncs.slower_syncs(MS):
        pass


def test_a_measurement_whose_syncs_are_as_they_were_is_no_figure() -> None:
    as_it_was = SlowerSyncs(MS, environment={}, raw_commit_ms=0.2, raw_commit_slower_ms=20.2)
    figure = compare.one_child("raw-1", "one", 1, as_it_was)
    assert figure == {"error": "its syncs were not made slower"}


def test_figures_of_the_disk_itself_say_nothing_of_slower_ones() -> None:
    figures = results(result("one", "meerkat", 300.0), result("one", "litequeue", 100.0))
    assert "slower" not in compare.report(figures)
