"""The README tells the truth: its example, its commands, its tables."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from cli_support import ROOT, environment

from actors.cli.inputs_file import LINE_BYTES_MAX, InputLine, read_lines
from actors.cli.run import STOP_TIMEOUT_S
from actors.cli.status import MEANS, ExitStatus
from actors.settings import PASSIVATE_AFTER_S
from meerkat.limits import BATCH_INPUTS_MAX, DEFAULT_LIMITS, JSON_DEPTH_MAX

README = (ROOT / "README.md").read_text()
EXAMPLE = ROOT / "examples" / "support.py"


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


def test_the_example_is_the_script_and_has_twelve_lines() -> None:
    (example,) = blocks("python")
    script = EXAMPLE.read_text()
    assert script.split('"""\n\n', 1)[1] == example
    assert sum(bool(line.strip()) for line in example.splitlines()) == 12
    assert README.index("```python") < 1_500


def test_the_example_prints_what_the_readme_says_twice(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert f"It prints `{done.stdout.strip()}`." in README
        assert done.stderr == ""


def test_each_of_the_two_commands_is_one_line() -> None:
    job, tests = (block.strip() for block in blocks("sh"))
    for command in (job, tests):
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert job.endswith("&& .venv/bin/meerkat run examples/inputs.jsonl")
    assert tests.endswith("&& .venv/bin/python -m pytest -n 2 --dist worksteal")


def test_the_example_stream_shows_what_a_file_may_hold() -> None:
    with (ROOT / "examples" / "inputs.jsonl").open("rb") as file:
        lines = list(read_lines(file))
    inputs = [line.input for line in lines if isinstance(line, InputLine)]
    assert len(inputs) == len(lines) == 12
    assert len({line.runtime_id for line in lines if isinstance(line, InputLine)}) == 3
    assert {type(each).__name__ for each in inputs} == {
        "PromptInput",
        "ExternalEventInput",
        "PeerInput",
        "ContinuationInput",
        "FlowStepInput",
    }
    assert all(each.idempotency_key is not None for each in inputs)


def test_every_exit_status_is_in_the_table() -> None:
    table = README.split("| Exit status |")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE))
    assert told == {str(int(status)): MEANS[status] for status in ExitStatus}
    operating = (ROOT / "docs" / "how-to" / "operating.md").read_text()
    assert [f"| {number} | {means} |" in operating for number, means in told.items()] == [True] * 6


def test_the_limits_are_the_real_ones() -> None:
    limits = README.split("## Limits")[1].split("\n## ")[0]
    told = [
        f"{DEFAULT_LIMITS.payload_bytes_max // 2**20} MiB, {JSON_DEPTH_MAX} levels",
        f"| {LINE_BYTES_MAX // 2**20} MiB |",
        f"| {DEFAULT_LIMITS.pending_inputs_max:,} |",
        f"| {DEFAULT_LIMITS.in_flight_max:,} |",
        f"runtimes in memory | {DEFAULT_LIMITS.live_runtimes_max:,} |",
        f"| {PASSIVATE_AFTER_S:.0f} s, `passivate_after=`",
        f"| {DEFAULT_LIMITS.max_attempts}, with",
        f"| {DEFAULT_LIMITS.crash_attempts_max} |",
        f"| {BATCH_INPUTS_MAX}; a prompt",
        f"{DEFAULT_LIMITS.events_per_runtime_max:,} a runtime",
        f"{DEFAULT_LIMITS.events_per_process_max:,} in all",
    ]
    assert [text for text in told if text not in limits] == []
    assert STOP_TIMEOUT_S == 10
    assert "for ten seconds at most" in README
