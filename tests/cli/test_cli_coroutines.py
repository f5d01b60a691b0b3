"""``meerkat run`` with a coroutine executor: counted, side by side, and stopped as any other."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import (
    call,
    counts_of,
    lines_in,
    meerkat,
    messages_of,
    prompt,
    start,
    texts_of,
    wait_until,
    write_inputs,
)

from meerkat import InputPhase, LogicalRuntimeId
from meerkat.store import SqliteStore

COROUTINES = """\
import asyncio
from functools import partial
from executors import answer as answered, say
from actors.cli import run
from meerkat.errors import ApplyFailed, ExecutorStopped

async def answer(context, primitive, *, key=None):
    await asyncio.sleep(0)
    return answered(context, primitive)

class Agent:
    async def apply(self, context, primitive):
        return await answer(context, primitive)

class Callable:
    async def __call__(self, context, primitive):
        return await answer(context, primitive)

agent, callable_agent = Agent(), Callable()
partly = partial(answer, key="key")

async def second_time(context, primitive):
    if context.attempt == 1:
        raise ApplyFailed("not yet")
    return await answer(context, primitive)

async def never(context, primitive):
    raise ValueError("the model is out")

here = 0
all_here = asyncio.Event()

async def all_together(context, primitive):
    global here
    here += 1
    if here == 200:
        all_here.set()
    await all_here.wait()
    return await answer(context, primitive)

async def leaves(context, primitive):
    if primitive.text == "last":
        raise ExecutorStopped
    return await answer(context, primitive)

async def unhurried(context, primitive):
    say("begun")
    while not await asyncio.to_thread(lambda: open("go_on").read()):
        await asyncio.sleep(0.01)
    return await answer(context, primitive)

async def patient(context, primitive):
    run.STOP_TIMEOUT_S = 0.2
    say("begun")
    try:
        await context.wait(60)
    except asyncio.CancelledError:
        say("cancelled")
        raise

async def deaf(context, primitive):
    say("begun")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


@pytest.fixture
def job(folder: Path) -> Iterator[Path]:
    """A file of six inputs for two runtimes, beside a module of coroutine executors."""
    (folder / "coroutines.py").write_text(COROUTINES)
    write_inputs(folder / "i.jsonl", [prompt(f"r{n % 2}", f"k{n}") for n in range(6)])
    yield folder
    sys.modules.pop("coroutines", None)


def arguments(name: str) -> tuple[str, ...]:
    return ("run", "i.jsonl", "--executor", f"coroutines:{name}", "--json")


def said_of(capsys: Any, runtime_id: str) -> list[str]:
    return texts_of(messages_of(capsys, runtime_id), "assistant")


def check_done(capsys: Any) -> None:
    """All six inputs were run to their end, in order."""
    assert said_of(capsys, "r0") == ["K0", "K2", "K4"]
    assert said_of(capsys, "r1") == ["K1", "K3", "K5"]


@pytest.mark.parametrize("name", ["answer", "agent", "agent.apply", "callable_agent", "partly"])
def test_a_file_is_worked_once_and_a_second_run_does_nothing(
    job: Path, capsys: Any, name: str
) -> None:
    status, out, err = call(capsys, *arguments(name))
    assert (status, err, counts_of(out)) == (0, "", (6, 0, 0, 6, 0, 6, 6))
    check_done(capsys)
    status, out, _ = call(capsys, *arguments(name))
    assert (status, counts_of(out)) == (0, (0, 6, 0, 0, 0, 0, 0))


def test_a_run_that_is_retried_counts_each_call(job: Path, capsys: Any) -> None:
    status, out, err = call(capsys, *arguments("second_time"))
    assert (status, err, counts_of(out)) == (0, "", (6, 0, 0, 6, 0, 12, 6))
    check_done(capsys)


def test_what_it_raises_is_said(job: Path, capsys: Any) -> None:
    write_inputs(job / "i.jsonl", [prompt("a", "1")])
    status, out, err = call(capsys, *arguments("never"))
    assert (status, counts_of(out)) == (1, (1, 0, 0, 0, 1, 3, 0))
    assert "line 1: a: given up: max_attempts_exhausted: ValueError: the model is out" in err


def test_as_many_as_are_asked_for_run_side_by_side(job: Path, capsys: Any) -> None:
    write_inputs(job / "i.jsonl", [prompt(f"r{n}", f"k{n}") for n in range(200)])
    status, out, err = call(capsys, *arguments("all_together"), "--max-concurrent-runs", "200")
    assert (status, err, counts_of(out)) == (0, "", (200, 0, 0, 200, 0, 200, 200))


def test_an_executor_that_takes_no_more_runs_ends_the_job(job: Path, capsys: Any) -> None:
    write_inputs(job / "i.jsonl", [prompt("a", text) for text in ("1", "last", "2")])
    status, out, err = call(capsys, *arguments("leaves"))
    assert (status, counts_of(out)) == (1, (3, 0, 0, 1, 0, 2, 1))
    assert "the executor takes no more runs" in err
    assert "2 accepted inputs wait, none is lost" in err
    status, out, _ = call(capsys, *arguments("answer"))
    assert (status, counts_of(out)) == (0, (0, 3, 0, 2, 0, 2, 2))


# --- stopped ----------------------------------------------------------------------------


def waiting(folder: Path) -> list[tuple[InputPhase, int]]:
    """What is left to do, and how often it has been tried."""
    store = SqliteStore(folder / "meerkat.db")
    states = [
        (state.phase, state.attempt_count)
        for name in ("r0", "r1")
        for state in store.load_active_inputs(LogicalRuntimeId(name))
    ]
    store.close()
    return states


def test_ctrl_c_lets_the_runs_in_hand_end(job: Path, capsys: Any) -> None:
    (job / "go_on").touch()
    process = start(*arguments("unhurried"), cwd=job)
    wait_until(lambda: lines_in(job / "runs.log") == ["begun"] * 2, "two runs")
    wait_until(lambda: len(waiting(job)) == 6, "all of the file to be taken in")
    process.send_signal(signal.SIGINT)
    stopped = process.stderr
    assert stopped is not None
    assert "stopping: waiting for 2 runs to end" in stopped.readline()
    (job / "go_on").write_text("now")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    accepted, _, _, completed, abandoned, runs, receipts = counts_of(out)
    assert (accepted, abandoned) == (6, 0)
    assert completed == runs == receipts >= 2
    assert f"{6 - completed} accepted inputs wait, none is lost" in err
    assert "Traceback" not in err
    assert waiting(job) == [(InputPhase.QUEUED, 0)] * (6 - completed)
    assert meerkat(*arguments("answer"), cwd=job).returncode == 0
    check_done(capsys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_for_long_is_cancelled_and_taken_up_again(
    job: Path, capsys: Any, number: signal.Signals
) -> None:
    process = start(*arguments("patient"), cwd=job)
    wait_until(lambda: lines_in(job / "runs.log") == ["begun"] * 2, "two runs")
    wait_until(lambda: len(waiting(job)) == 6, "all of the file to be taken in")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert counts_of(out) == (6, 0, 0, 0, 0, 2, 0)
    assert lines_in(job / "runs.log") == [*["begun"] * 2, *["cancelled"] * 2]
    assert "Traceback" not in err
    assert "never" not in err  # retrieved, awaited
    assert waiting(job) == [(InputPhase.QUEUED, 0)] * 6
    assert meerkat(*arguments("answer"), cwd=job).returncode == 0
    check_done(capsys)


def test_a_second_signal_ends_what_does_not_listen(job: Path, capsys: Any) -> None:
    process = start(*arguments("deaf"), cwd=job)
    wait_until(lambda: lines_in(job / "runs.log") == ["begun"] * 2, "two runs")
    process.send_signal(signal.SIGINT)
    stopped = process.stderr
    assert stopped is not None
    assert "stopping" in stopped.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert meerkat(*arguments("answer"), cwd=job).returncode == 0
    check_done(capsys)
