"""Ctrl-C, SIGTERM and SIGKILL in mid-run: the same command again does the rest, once."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import (
    call,
    command_of,
    lines_in,
    meerkat,
    messages_of,
    prompt,
    start,
    summary_of,
    texts_of,
    wait_until,
    write_inputs,
)

from meerkat.store import SqliteStore

ARGUMENTS = ("run", "i.jsonl", "--executor", "executors:answer", "--json")
INPUTS = 40


def stored(folder: Path) -> tuple[int, int]:
    """What is left to do and what is proved, of both runtimes."""
    store = SqliteStore(folder / "meerkat.db")
    rows = store.list_runtimes().items
    active = sum(len(store.load_active_inputs(row.runtime_id)) for row in rows)
    receipts = sum(len(store.page_receipts(row.runtime_id).items) for row in rows)
    store.close()
    return active, receipts


def said_of(capsys: Any, runtime_id: str) -> list[str]:
    return texts_of(messages_of(capsys, runtime_id), "assistant")


def expected(runtime_id: str) -> list[str]:
    rest = int(runtime_id[1:])
    return [f"K{n:03}" for n in range(INPUTS) if n % 2 == rest]


@pytest.fixture
def job(folder: Path) -> Path:
    """A file of 40 inputs for two runtimes."""
    lines = [prompt(f"r{n % 2}", f"k{n:03}") for n in range(INPUTS)]
    write_inputs(folder / "i.jsonl", lines)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean_and_the_next_run_completes_the_rest(
    job: Path, capsys: Any, number: signal.Signals
) -> None:
    process = start(*ARGUMENTS, cwd=job, RUN_S="0.05")
    wait_until(lambda: len(lines_in(job / "runs.log")) > 4, "some runs")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    first = summary_of(out)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        f"meerkat: to go on, run the same command again: {' '.join(command_of(*ARGUMENTS))}"
    )
    active, receipts = stored(job)
    assert first["accepted"] == INPUTS
    assert first["completed"] == first["runs"] == first["receipts"] == receipts
    assert active == INPUTS - receipts
    assert 0 < receipts < INPUTS
    assert f"{active} accepted inputs wait" in err

    second = meerkat(*ARGUMENTS, cwd=job)
    assert second.returncode == 0
    summary = summary_of(second.stdout)
    assert summary["accepted"] == 0
    assert summary["deduplicated"] == INPUTS
    assert summary["completed"] == summary["runs"] == INPUTS - receipts
    for runtime_id in ("r0", "r1"):
        assert said_of(capsys, runtime_id) == expected(runtime_id)
    assert sorted(lines_in(job / "runs.log")) == [f"k{n:03}" for n in range(INPUTS)]


def test_a_stop_in_the_middle_of_the_file_makes_no_noise(folder: Path) -> None:
    lines = [prompt(f"r{n % 4}", f"k{n:04}") for n in range(3_000)]
    write_inputs(folder / "i.jsonl", lines)
    process = start(*ARGUMENTS, cwd=folder)
    wait_until(lambda: len(lines_in(folder / "runs.log")) > 9, "some runs")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    first = summary_of(out)
    assert process.returncode == 130
    assert len(err.splitlines()) == 3
    second = meerkat(*ARGUMENTS, cwd=folder)
    summary = summary_of(second.stdout)
    assert second.returncode == 0
    assert first["completed"] + summary["completed"] == 3_000
    assert summary["accepted"] + summary["deduplicated"] == 3_000
    ran = lines_in(folder / "runs.log")
    assert sorted(ran) == [f"k{n:04}" for n in range(3_000)]
    for rest in range(4):
        mine = [text for text in ran if int(text[1:]) % 4 == rest]
        assert mine == sorted(mine)


def test_a_stop_lets_the_runs_in_hand_end(job: Path) -> None:
    process = start(*ARGUMENTS, cwd=job, RUN_S="1")
    wait_until(lambda: len(lines_in(job / "runs.log")) == 2, "two runs")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    summary = summary_of(out)
    assert (summary["runs"], summary["completed"], summary["receipts"]) == (2, 2, 2)


def test_a_second_signal_ends_it_at_once(job: Path, capsys: Any) -> None:
    process = start(*ARGUMENTS, cwd=job, RUN_S="60")
    wait_until(lambda: len(lines_in(job / "runs.log")) == 2, "two runs")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 2
    assert meerkat(*ARGUMENTS, cwd=job).returncode == 0
    for runtime_id in ("r0", "r1"):
        assert said_of(capsys, runtime_id) == expected(runtime_id)


def test_a_stop_takes_the_programs_of_the_command_along(job: Path) -> None:
    (job / "program.sh").write_text("echo $$ >> pids\nexec sleep 600\n")
    arguments = ("run", "i.jsonl", "--command", "sh program.sh", "--json")
    process = start(*arguments, cwd=job)
    wait_until(lambda: len(lines_in(job / "pids")) == 2, "two programs")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    for pid in lines_in(job / "pids"):
        stat = Path(f"/proc/{pid}/stat")
        wait_until(
            lambda stat=stat: not stat.exists() or " Z " in stat.read_text(),
            f"program {pid} to end",
        )


@pytest.mark.parametrize("after", [0, 1, 7])
def test_sigkill_loses_nothing_and_repeats_nothing(job: Path, capsys: Any, after: int) -> None:
    process = start(*ARGUMENTS, cwd=job, RUN_S="0.02")
    wait_until(lambda: len(lines_in(job / "runs.log")) > after, "some runs")
    process.kill()
    process.communicate(timeout=30)
    _, proved = stored(job)
    second = meerkat(*ARGUMENTS, cwd=job)
    assert second.returncode == 0
    summary = summary_of(second.stdout)
    assert summary["accepted"] + summary["deduplicated"] == INPUTS
    assert summary["completed"] == summary["receipts"] == INPUTS - proved
    for runtime_id in ("r0", "r1"):
        assert said_of(capsys, runtime_id) == expected(runtime_id)
    assert stored(job) == (0, INPUTS)
    status, out, _ = call(capsys, *ARGUMENTS)
    assert (status, summary_of(out)["runs"]) == (0, 0)


def test_a_long_run_is_cut_off_and_taken_up_again(job: Path, capsys: Any) -> None:
    (job / "patient.py").write_text(
        "from executors import answer, say\n"
        "from meerkat.errors import RunCancelled\n"
        "def wait(context, primitive):\n"
        "    say('waits')\n"
        "    context.cancelled.wait(60)\n"
        "    context.raise_if_cancelled()\n"
        "    return answer(context, primitive)\n"
        "from actors.cli import run\n"
        "run.STOP_TIMEOUT_S = 0.2\n"
    )
    process = start("run", "i.jsonl", "--executor", "patient:wait", "--json", cwd=job)
    wait_until(lambda: lines_in(job / "runs.log") == ["waits"] * 2, "two runs")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    summary = summary_of(out)
    assert (summary["completed"], summary["abandoned"]) == (0, 0)
    assert stored(job) == (INPUTS, 0)
    assert meerkat(*ARGUMENTS, cwd=job).returncode == 0
    for runtime_id in ("r0", "r1"):
        assert said_of(capsys, runtime_id) == expected(runtime_id)
