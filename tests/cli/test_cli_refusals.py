"""Messages of the command line: what is wrong, and what to do about it."""

from __future__ import annotations

import gc
import io
import json
import signal
import weakref
from pathlib import Path
from typing import Any

import pytest
from cli_support import (
    call,
    command_of,
    lines_in,
    meerkat,
    prompt,
    start,
    wait_until,
    write_inputs,
)
from rich.console import Console

from actors.cli.progress import Bar
from actors.clock import SystemClock
from actors.control_plane import ControlPlane
from actors.door import Submission
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import SqliteStore

SPITEFUL = """\
class Spiteful:
    def __getattr__(self, name):
        raise RuntimeError("no " + name)

agent = Spiteful()
"""


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import sys\nsys.exit(0)\n", "cannot import odd: SystemExit: 0"),
        (SPITEFUL, "cannot use agent of odd: RuntimeError: no apply"),
        (SPITEFUL.replace("RuntimeError", "SystemExit"), "cannot use agent of odd: SystemExit"),
    ],
)
def test_an_odd_executor_is_wrong_usage(folder: Path, capsys: Any, module: str, said: str) -> None:
    (folder / "odd.py").write_text(module)
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    done = meerkat("run", "i.jsonl", "--executor", "odd:agent", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_command_leaves_behind_ends_with_it(folder: Path) -> None:
    (folder / "program.sh").write_text("""sleep 77 & echo $! > pid; echo '{"reply": "done"}'\n""")
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    assert meerkat("run", "i.jsonl", "--command", "sh program.sh", cwd=folder).returncode == 0
    stat = Path(f"/proc/{lines_in(folder / 'pid')[0]}/stat")
    wait_until(lambda: not stat.exists() or " Z " in stat.read_text(), "the sleep to end", 5)


@pytest.mark.parametrize(
    "arguments", [("doctor",), ("events",), ("top",), ("serve",), ("stop", "a"), ("backup", "b.db")]
)
def test_what_wants_a_file_says_what_there_is_for_a_database_elsewhere(
    folder: Path, capsys: Any, arguments: tuple[str, ...]
) -> None:
    url = "postgresql://me:secret@127.0.0.1:1/sessions"
    status, out, err = call(capsys, *arguments, "--store", url)
    assert (status, out) == (2, "")
    assert "look with runtimes, show, inputs and receipts" in err
    assert "secret" not in err


def test_a_store_in_use_names_the_command_and_what_to_do(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    arguments = ("run", "i.jsonl", "--executor", "executors:answer")
    process = start(*arguments, cwd=folder, RUN_S="60")
    wait_until(lambda: lines_in(folder / "runs.log"), "a run")
    status, _, err = call(capsys, "run", "i.jsonl")
    process.kill()
    process.communicate(timeout=30)
    assert status == 3
    assert f"in use by process {process.pid} (actors.cli)" in err
    assert "wait until it has ended, or use another --store" in err


def test_an_executor_that_leaves_says_how_many_wait_and_how_to_go_on(
    folder: Path, capsys: Any
) -> None:
    (folder / "leaver.py").write_text(
        "from meerkat.errors import ExecutorStopped\n"
        "def leave(context, primitive):\n"
        "    raise ExecutorStopped\n"
    )
    write_inputs(folder / "i.jsonl", [prompt("a", str(n)) for n in range(3)])
    status, _, err = call(capsys, "run", "i.jsonl", "--executor", "leaver:leave")
    assert status == 1
    told = err.splitlines()
    assert told[0] == "meerkat: the executor takes no more runs"
    assert told[1].endswith(" accepted inputs wait, none is lost")
    assert told[2].endswith("again: meerkat run i.jsonl --executor leaver:leave")
    in_store = SqliteStore("meerkat.db")
    assert f" {len(in_store.load_active_inputs(LogicalRuntimeId('a')))} accepted" in told[1]
    in_store.close()


def test_a_stop_says_what_it_waits_for_and_how_to_go_on(folder: Path) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), prompt("b", "2"), prompt("b", "3")])
    arguments = ("run", "i.jsonl", "--executor", "executors:answer")
    process = start(*arguments, cwd=folder, RUN_S="1")
    wait_until(lambda: len(lines_in(folder / "runs.log")) == 2, "two runs")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "stopping: waiting for 2 runs to end, at most 10 s, and 5 s more" in err
    assert err.splitlines()[-1].endswith(f"again: {' '.join(command_of(*arguments))}")


@pytest.mark.parametrize(
    ("columns", "count"),
    [(20, "12345/100000"), (20, "1234567/1234567"), (13, "12345/1000000"), (80, "12345/100000")],
)
def test_no_terminal_is_too_narrow_for_the_count(columns: int, count: str) -> None:
    class ClockOn(SystemClock):
        at = 0.0

        def monotonic(self) -> float:
            self.at += 1
            return self.at

    stream = io.StringIO()
    console = Console(file=stream, width=columns, force_terminal=True, color_system=None)
    bar = Bar(console, ClockOn())
    ended, known = map(int, count.split("/"))
    bar.show(ended, known)
    bar._bar.refresh()
    bar.close()
    assert count in stream.getvalue()


def test_show_counts_what_has_ended_and_says_why_the_last_was_given_up(
    folder: Path, capsys: Any
) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), prompt("a", "2")])
    assert call(capsys, "run", "i.jsonl")[0] == 0
    (folder / "hopeless.py").write_text(
        "from meerkat.errors import ApplyFailed\n"
        "def fail(context, primitive):\n"
        "    raise ApplyFailed('no ' + primitive.text, recoverable=False)\n"
    )
    write_inputs(folder / "j.jsonl", [prompt("a", "3"), prompt("a", "4")])
    assert call(capsys, "run", "j.jsonl", "--executor", "hopeless:fail")[0] == 1
    facts = json.loads(call(capsys, "show", "a", "--json")[1])
    assert (facts["pending_inputs"], facts["consumed"], facts["abandoned"]) == (0, 2, 2)
    assert facts["last_error"] == "no 4"
    assert "superseded" not in facts


def test_what_was_submitted_is_freed_without_the_collector(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[weakref.ref[Any]] = []
    submit = ControlPlane.submit

    def watched(*arguments: Any) -> Submission:
        submission = submit(*arguments)
        parts.extend(map(weakref.ref, (submission.accepted, submission.completion)))
        return submission

    monkeypatch.setattr(ControlPlane, "submit", watched)
    write_inputs(folder / "i.jsonl", [prompt("a", str(n)) for n in range(200)])
    gc.collect()
    gc.disable()
    try:
        assert call(capsys, "run", "i.jsonl")[0] == 0
        assert len(parts) == 400
        assert sum(part() is not None for part in parts) < 40
    finally:
        gc.enable()
