"""Terminals and pipes: a bar that fits, lines that are clean, a reader that goes away."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
from cli_support import command_of, environment, meerkat, prompt, summary_of, write_inputs
from warm_starts import WAIT_S, BegunCall, WarmStart

from actors.cli.progress import Lines
from actors.clock import SystemClock

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(
    folder: Path,
    columns: int,
    *arguments: str,
    typed: bytes = b"",
    warm: WarmStart | None = None,
    **more: str,
) -> tuple[int, str]:
    """Call the command line on a terminal: status, and everything written to it."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    around = {"TERM": "xterm-256color", **more}
    process: BegunCall | subprocess.Popen[bytes]
    if warm is None:
        process = subprocess.Popen(
            command_of(*arguments),
            cwd=folder,
            env=environment(**around),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
    else:
        process = warm.begin(*arguments, cwd=folder, streams=[terminal] * 3, **around)
    os.close(terminal)
    os.write(controller, typed)
    written, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([controller], [], [], 30)[0]:
        try:
            more_bytes = os.read(controller, 65536)
        except OSError:  # the other side has been closed
            break
        if not more_bytes:
            break
        written += more_bytes
    os.close(controller)
    return process.wait(WAIT_S), written.decode()


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_bar_fits_the_terminal(folder: Path, columns: int) -> None:
    write_inputs(folder / "i.jsonl", [prompt(f"r{n}", f"k{n}") for n in range(8)])
    arguments = ("run", "i.jsonl", "--executor", "executors:answer", "--max-concurrent-runs", "2")
    status, written = on_a_terminal(folder, columns, *arguments, RUN_S="0.3")
    assert status == 0
    drawn = [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", written)) if line.strip()]
    bars = [line for line in drawn if line.startswith("inputs")]
    assert len(bars) > 3
    assert any("/8" in line for line in bars)
    assert max(map(len, drawn)) <= max(columns, 22)  # a row of the summary takes 22
    assert written.endswith("\x1b[?25h") or written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")
    assert "completed            8" in written


def test_notes_stand_above_the_bar(folder: Path) -> None:
    lines = [prompt("a", "1"), "garbage [bold]x[/bold]", prompt("a", "2")]
    write_inputs(folder / "i.jsonl", lines)
    arguments = ("run", "i.jsonl", "--executor", "executors:answer", "--json")
    status, written = on_a_terminal(folder, 40, *arguments, RUN_S="0.3")
    assert status == 1
    assert "meerkat: line 2: not JSON" in ESCAPES.sub("", written)
    assert summary_of(ESCAPES.sub("", written).replace("\r\n", "\n"))["completed"] == 2


def test_a_dumb_terminal_gets_lines(folder: Path) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), "garbage"])
    status, written = on_a_terminal(folder, 40, "run", "i.jsonl", TERM="dumb")
    assert status == 1
    assert "\x1b" not in written


def test_help_fits_a_narrow_terminal(folder: Path) -> None:
    for arguments in (["--help"], ["run", "--help"], ["show", "--help"]):
        shown = meerkat(*arguments, cwd=folder, COLUMNS="40")
        assert shown.returncode == 0
        assert max(map(len, shown.stdout.splitlines())) <= 40


def test_a_pipe_gets_clean_lines(folder: Path) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), "garbage", prompt("b", "2")])
    done = meerkat("run", "i.jsonl", "--json", cwd=folder, TERM="xterm", FORCE_COLOR="1")
    assert done.returncode == 1
    assert not set("\x1b\r") & set(done.stdout + done.stderr)
    assert all(line.startswith("meerkat: ") for line in done.stderr.splitlines())


class ClockAt(SystemClock):
    """A clock that is set by hand."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


def test_lines_are_few(tmp_path: Path) -> None:
    clock = ClockAt()
    with (tmp_path / "log").open("w") as stream:
        lines = Lines(stream, clock)
        for second in range(21):
            clock.at = float(second)
            lines.show(second, 20)
        lines.close()
    assert (tmp_path / "log").read_text().splitlines() == [
        f"meerkat: {n} of 20 inputs have ended" for n in (5, 10, 15, 20)
    ]


# --- a reader that goes away ------------------------------------------------------------


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "i.jsonl", "--json"),
        ("run", "i.jsonl"),
        ("show", "a", "--messages"),
        ("show", "a", "--messages", "--json"),
        ("show", "a"),
    ],
)
def test_a_pipe_that_is_closed_early_makes_no_noise(
    folder: Path, arguments: tuple[str, ...], unbuffered: str
) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1", content="x" * 200_000)])
    assert meerkat("run", "i.jsonl", cwd=folder).returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command_of(*arguments),
        cwd=folder,
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_standard_error_does_not_stop_the_job(folder: Path, unbuffered: str) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), *["garbage"] * 50, prompt("a", "2")])
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command_of("run", "i.jsonl", "--json"),
        cwd=folder,
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert summary_of(done.stdout)["completed"] == 2
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_under_the_output_is_told(folder: Path) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command_of("run", "i.jsonl", "--json"),
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "meerkat: cannot write: No space left on device\n"


def test_wrong_usage_with_nobody_to_read_it(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["run", "missing.jsonl"], ["show", "a"]):
        done = subprocess.run(
            command_of(*arguments),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            timeout=60,
            check=False,
        )
        assert done.returncode in (2, 3)
    os.close(writer)
