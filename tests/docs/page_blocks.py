"""The blocks of a page, done as a reader would do them: in order, in one folder.

What a block is follows from its language, and from its first line:

* ``python`` that opens with ``# name.py`` is that file; a file of tests has to pass;
* other ``python`` is executed, with the names of the blocks before it;
* ``output`` is what the last ``python`` block has printed;
* ``console`` is a shell: each ``$ command``, with what it prints below it, if that is shown. It
  has to succeed, unless the next command asks how it ended (``echo $?``);
* ``sh`` is a script without its output.

``…`` in an output stands for anything. A block is left out by a comment in front of it, which says
why: ``<!-- skip: next "needs a network" -->``.
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path

from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser

import meerkat

TOP = Path(meerkat.__file__).parent.parent
LONGEST_S = 200
COMMANDS = {"meerkat": "-m actors.cli", "pytest": "-m pytest", "python": ""}
FILE = re.compile(r"# (\w+\.py)\n")
PRINTED = "what the last block has printed"
MARK = "--- the end of command"
SHOW_HOW_IT_ENDED = f"ended=$?; printf '\\n{MARK} %d\\n' $ended; (exit $ended)"


def parsed(page: Path) -> Document:
    """A page with its blocks."""
    run = {"python": python, "output": output, "console": console, "sh": script}
    parsers = [CodeBlockParser(language, each) for language, each in run.items()]
    return Document.parse(str(page), SkipParser(), *parsers, encoding="utf-8")


def files(document: Document) -> Iterator[tuple[str, str]]:
    """The files that a page shows: name and text."""
    for example in document.examples():
        found = FILE.match(str(example.parsed))
        if found:
            yield found[1], example.parsed


# --- Python -------------------------------------------------------------------------------


def python(example: Example) -> None:
    named = FILE.match(example.parsed)
    if named:
        Path(named[1]).write_text(example.parsed, encoding="utf-8")
        return
    printed = io.StringIO()
    with redirect_stdout(printed):
        PythonEvaluator()(example)
    example.namespace[PRINTED] = printed.getvalue()


def output(example: Example) -> None:
    same(example.namespace[PRINTED], example.parsed)


def passes(name: str) -> None:
    """A file of tests in this folder has to pass, as for who copies it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    plugins = ["-p", "meerkat_pytest", "-p", "_hypothesis_pytestplugin", "--rootdir", "."]
    own = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    ended, said = finished([*command, *plugins, name], own)
    assert ended == 0, said


# --- the shell ----------------------------------------------------------------------------


def script(example: Example) -> None:
    ended, said = finished(["bash", "-euc", example.parsed])
    assert ended == 0, said


def console(example: Example) -> None:
    commands = list(typed(example.parsed))
    lines = [f"{command}\n{SHOW_HOW_IT_ENDED}" for command, _ in commands]
    _, said = finished(["bash", "-c", "\n".join(lines)])
    ends = re.findall(rf"\n{MARK} (\d+)\n", said)
    printed = re.split(rf"\n{MARK} \d+\n", said)
    assert len(ends) == len(commands), said
    asked = {number for number, (_, (later, _)) in enumerate(pairwise(commands)) if "$?" in later}
    for number, (command, shown) in enumerate(commands):
        assert ends[number] == "0" or number in asked, f"{command}: {printed[number]}"
        if shown:
            same(printed[number], shown)


def typed(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, and what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        more = 1
        while more < len(lines) and lines[more - 1].endswith("\\"):
            more += 1
        yield "\n".join(lines[:more]), "\n".join(lines[more:])


def finished(command: list[str], more: dict[str, str] | None = None) -> tuple[int, str]:
    """How a command ended in this folder, and what it said; nothing of it is left behind."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment() | (more or {}),
            start_new_session=True,
        )
        try:
            ended = process.wait(LONGEST_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return ended, said.read().decode()


def environment() -> dict[str, str]:
    """A plain terminal, with our commands; they do not need to be installed."""
    commands = Path(".commands").absolute()
    commands.mkdir(exist_ok=True)
    for name, arguments in COMMANDS.items():
        made = commands / name
        made.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        made.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": f"{TOP}:{os.environ.get('PYTHONPATH', '')}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


def same(found: str, shown: str) -> None:
    """What was printed is what is shown, but for the ends of lines and how wide columns are."""
    plain, wanted = map(_narrowed, (found, shown))
    pattern = ".*?".join(map(re.escape, wanted.split("…")))
    assert re.fullmatch(pattern, plain, re.DOTALL), f"shown:\n{wanted}\n\nfound:\n{plain}"


def _narrowed(text: str) -> str:
    """The same with two spaces for more: a column is as wide as what happens to stand in it."""
    lines = (line.rstrip() for line in text.strip().splitlines())
    return "\n".join(re.sub(r"(?<=\S) {2,}", "  ", line) for line in lines)
