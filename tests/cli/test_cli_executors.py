"""Executors: the echo, the user's own, and the protocol of ``--command``."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, counts_of, lines_in, messages_of, prompt, wait_until, write_inputs

from actors.cli import command
from actors.cli.command import CommandExecutor
from meerkat import ContinuationInput, External, ExternalEventInput, Input, PromptInput
from meerkat.errors import ApplyFailed, RunCancelled
from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.policy import RunBoundary
from meerkat.runs import RunOutput, StagedInput, append_of


class Context:
    """What an executor is handed, as far as these need it."""

    def __init__(self) -> None:
        self.runtime_id = LogicalRuntimeId("a")
        self.run_id = RunId.new()
        self.attempt = 2
        self.cancelled = threading.Event()
        self.messages = [{"role": "user", "content": "before"}]


def staged(*inputs: Input) -> StagedInput:
    appends = [append_of(each) for each in inputs]
    return StagedInput(
        boundary=RunBoundary.RUN_START,
        appends=tuple(append for append in appends if append),
        contributing_input_ids=tuple(each.id for each in inputs),
        inputs=inputs,
    )


def python(folder: Path, script: str) -> str:
    """The command that runs a script."""
    path = folder / "program.py"
    path.write_text(script)
    return shlex.join([sys.executable, str(path)])


def apply(folder: Path, script: str, primitive: StagedInput | None = None) -> RunOutput:
    executor: Any = CommandExecutor(python(folder, script))
    output: RunOutput = executor.apply(Context(), primitive or staged(PromptInput("hello")))
    return output


def answer(value: Any) -> str:
    return f"print({json.dumps(json.dumps(value))})"


# --- the user's own ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["executors:answer", "executors:agent", "executors:Agent.apply"])
def test_an_executor_of_the_current_folder(folder: Path, capsys: Any, name: str) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1", content="hello")])
    status, out, _ = call(capsys, "run", "i.jsonl", "--executor", name, "--json")
    assert (status, counts_of(out)) == (0, (1, 0, 0, 1, 0, 1, 1))
    assert messages_of(capsys, "a") == [{"content": "HELLO", "role": "assistant"}]


def test_a_coroutine_function_is_an_executor_too(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "1"), prompt("a", "2")])
    status, out, err = call(capsys, "run", "i.jsonl", "--executor", "executors:later", "--json")
    assert (status, err, counts_of(out)) == (0, "", (2, 0, 0, 2, 0, 2, 2))


def test_a_module_that_fails_says_so(folder: Path, capsys: Any) -> None:
    (folder / "broken.py").write_text("raise ValueError('no key in the environment')\n")
    write_inputs(folder / "i.jsonl", [prompt("a", "1")])
    status, _, err = call(capsys, "run", "i.jsonl", "--executor", "broken:agent")
    assert status == 2
    assert "cannot import broken: ValueError: no key in the environment" in err


def test_the_echo_is_deterministic(folder: Path, capsys: Any) -> None:
    lines = [
        prompt("a", "1", content="hello"),
        prompt("a", "2", content=[{"type": "text", "text": "one"}, {"type": "image"}]),
        {"runtime_id": "a", "input": {"input_type": "continuation", "reason": "go on"}},
    ]
    write_inputs(folder / "i.jsonl", lines)
    call(capsys, "run", "i.jsonl")
    assert messages_of(capsys, "a") == [
        {"content": text, "role": role}
        for text in ("hello", "one")
        for role in ("user", "assistant")
    ]


# --- the command: what it gets and may answer -------------------------------------------


def test_the_command_gets_one_document(folder: Path) -> None:
    inputs = (
        PromptInput("hello", idempotency_key="k"),
        ContinuationInput("go on"),
        ExternalEventInput("t", {"n": 2**64 - 1}, source=External(source_name="s")),
    )
    script = (
        "import json, sys\n"
        "request = json.load(sys.stdin)\n"
        "print(json.dumps({'append': [{'got': request}]}))\n"
    )
    output = apply(folder, script, staged(*inputs))
    assert output.append is not None
    got: Any = output.append[0]["got"]
    assert list(got) == ["runtime_id", "run_id", "attempt", "messages", "inputs", "text"]
    assert got["runtime_id"] == "a"
    assert got["attempt"] == 2
    assert list(got["messages"]) == [{"role": "user", "content": "before"}]
    assert got["text"] == 'hello\n\n{"n":18446744073709551615}'
    kinds = [each["input_type"] for each in got["inputs"]]
    assert kinds == ["prompt", "continuation", "external_event"]
    assert got["inputs"][0]["idempotency_key"] == "k"
    assert RunId.parse(got["run_id"])


def test_a_reply_appends_the_texts_and_one_message(folder: Path) -> None:
    output = apply(folder, answer({"reply": "Grüße"}), staged(PromptInput("a"), PromptInput("b")))
    assert output == RunOutput(
        append=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "Grüße"},
        ],
        result="Grüße",
    )


def test_append_and_messages_are_taken_as_they_are(folder: Path) -> None:
    rows = [{"role": "tool", "content": None, "deep": [{"x": 1}]}]
    assert apply(folder, answer({"append": rows})) == RunOutput(append=rows)
    assert apply(folder, answer({"messages": rows})) == RunOutput(messages=rows)
    assert apply(folder, answer({"messages": []})) == RunOutput(messages=[])


BAD_ANSWERS = {
    "": "there is none on standard output",
    "print('thinking...')": "not JSON",
    "print('{}')": "one key of append, messages, reply",
    answer([]): "one key of append, messages, reply",
    answer("hello"): "one key of append, messages, reply",
    answer({"answer": "x"}): "one key of append, messages, reply",
    answer({"reply": "x", "append": []}): "one key of append, messages, reply",
    answer({"reply": 5}): "reply is text, not int",
    answer({"reply": None}): "reply is null",
    answer({"append": None}): "append is null",
    answer({"append": "x"}): "messages come as a list, not str",
    answer({"append": {"role": "user"}}): "messages come as a list",
    answer({"messages": ["x"]}): "a message is a mapping, not str",
    "print('{\"reply\": NaN}')": "NaN is not JSON",
    'print(\'{"reply": "a", "reply": "b"}\')': "duplicate key 'reply'",
    answer({"reply": "x"}) + "\nprint('done')": "not JSON",
    "import sys; sys.stdout.buffer.write(b'\\xff')": "not UTF-8",
    "print('x' * 200)": "longer than 100 bytes",
}


@pytest.mark.parametrize(("script", "reason"), BAD_ANSWERS.items(), ids=range(len(BAD_ANSWERS)))
def test_a_bad_answer_says_what_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setattr(command, "ANSWER_BYTES_MAX", 100)
    with pytest.raises(ApplyFailed) as failed:
        apply(folder, script)
    assert reason in failed.value.reason
    assert failed.value.recoverable


BAD_ENDS = {
    "import sys; sys.exit(3)": "ended with status 3 and said nothing on standard error",
    "import sys; sys.exit('no key')": "ended with status 1: no key",
    "import os; os.kill(os.getpid(), 9)": "ended by signal 9",
    answer({"reply": "x"}) + "\nimport sys; sys.exit('late')": "ended with status 1: late",
    "import sys; sys.stderr.buffer.write(b'\\xff'); sys.exit(2)": "ended with status 2: \ufffd",
}


@pytest.mark.parametrize(("script", "reason"), BAD_ENDS.items(), ids=range(len(BAD_ENDS)))
def test_a_bad_end_carries_standard_error(folder: Path, script: str, reason: str) -> None:
    with pytest.raises(ApplyFailed) as failed:
        apply(folder, script)
    assert reason in failed.value.reason


def test_of_a_long_standard_error_the_end_is_kept(folder: Path) -> None:
    with pytest.raises(ApplyFailed) as failed:
        apply(folder, "import sys; sys.exit('noise ' * 100_000 + 'the cause')")
    assert failed.value.reason.endswith("the cause")
    assert len(failed.value.reason) < 3_000


def test_neither_a_long_request_nor_much_output_blocks(folder: Path) -> None:
    script = (
        "import sys, json\n"
        "print('e' * 1_000_000, file=sys.stderr)\n"
        "print(json.dumps({'reply': 'x' * 1_000_000}))\n"
    )  # reads nothing of its request
    output = apply(folder, script, staged(PromptInput("y" * 1_000_000)))
    assert output.result == "x" * 1_000_000


# --- the command in the main job --------------------------------------------------------


def test_a_file_worked_by_a_command(folder: Path, capsys: Any) -> None:
    program = python(
        folder,
        "import json, sys\n"
        "request = json.load(sys.stdin)\n"
        "if request['text'] == 'fail': sys.exit('cannot do that')\n"
        "if request['attempt'] == 1 and request['text'] == 'again': sys.exit('once more')\n"
        "print(json.dumps({'reply': str(len(request['messages']))}))\n",
    )
    lines = [prompt("a", text) for text in ("one", "again", "fail", "two")]
    write_inputs(folder / "i.jsonl", lines)
    status, out, err = call(capsys, "run", "i.jsonl", "--command", program, "--json")
    assert status == 1
    assert counts_of(out) == (4, 0, 0, 3, 1, 7, 3)
    assert err == (
        "meerkat: line 3: a: given up: max_attempts_exhausted: "
        "the command ended with status 1: cannot do that\n"
    )
    assert [message["content"] for message in messages_of(capsys, "a")] == [
        *("one", "0", "again", "2", "two", "4")
    ]


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cancelled_run_takes_the_whole_process_group_along(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr(command, "TERM_GRACE_S", 0.2)
    script = (
        "import os, signal, subprocess, sys, time\n"
        f"if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open('pids', 'w').write(f'{os.getpid()}\\n{child.pid}\\n')\n"
        "time.sleep(600)\n"
    )
    executor: Any = CommandExecutor(python(folder, script))
    context, ended = Context(), []

    def run() -> None:
        with pytest.raises(RunCancelled) as cancelled:
            executor.apply(context, staged(PromptInput("x")))
        ended.append(cancelled)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(lines_in(folder / "pids")) == 2, "the program to start")
    began = time.monotonic()
    context.cancelled.set()
    thread.join(10)
    assert ended
    assert time.monotonic() - began < 3
    for pid in map(int, lines_in(folder / "pids")):
        wait_until(lambda pid=pid: _is_gone(pid), f"process {pid} to end")


def test_the_program_is_in_a_group_of_its_own(folder: Path) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    output = apply(folder, 'import os; print(\'{"reply": "%d"}\' % os.getpgrp())')
    assert int(str(output.result)) != os.getpgrp()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_program_that_is_just_being_started_is_ended_with_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, go_on = threading.Event(), threading.Event()

    class LatelyKnown(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            runs.set()
            assert go_on.wait(60)

    monkeypatch.setattr(command.subprocess, "Popen", LatelyKnown)
    monkeypatch.setattr(command, "START_S", 60.0)
    executor: Any = CommandExecutor("sleep 600")
    with ThreadPoolExecutor() as threads:
        run = threads.submit(executor.apply, Context(), staged(PromptInput("x")))
        assert runs.wait(60)
        killed = threads.submit(executor.kill_all)
        assert not killed.done()
        go_on.set()
        killed.result(60)
        with pytest.raises(ApplyFailed, match="signal 9"):
            run.result(60)
    with pytest.raises(RunCancelled):
        executor.apply(Context(), staged(PromptInput("x")))
