"""The Tab key: what may follow, in each shell that there is here."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import ROOT, call, environment

from actors.cli.arguments import COMMANDS
from actors.cli.completers import NAMES_MAX, runtime_ids
from actors.cli.completion import SHELLS
from meerkat import LogicalRuntimeId
from meerkat.input_lifecycle import AbandonCause
from meerkat.store import Batch, RuntimeRow, SqliteStore

NAMES = ["rt:session:1", "rt:session:2", "support-1", "support-2", "zoo"]

BASH = r"""
source ./bash
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
read -ra COMP_WORDS <<< "$1"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
_python_argcomplete meerkat "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def stored(folder: Path, capsys: Any) -> Path:
    """Runtimes of a database, the command line as a program, and what each shell is to read."""
    known(folder / "meerkat.db", NAMES)
    for shell in SHELLS:
        (folder / shell).write_text(call(capsys, "completion", shell)[1])
    (folder / "bin").mkdir()
    program = folder / "bin" / "meerkat"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m actors.cli "$@"\n')
    program.chmod(0o755)
    return folder


def known(path: Path, names: list[str]) -> None:
    store = SqliteStore(path)
    rows = [RuntimeRow(runtime_id=LogicalRuntimeId(name), fence=1) for name in names]
    store.commit_many([Batch(runtime=row, expected_fence=0) for row in rows])
    store.close()


def around(folder: Path) -> dict[str, str]:
    found = environment(PYTHONPATH=str(ROOT), TERM="dumb", LC_ALL="C.UTF-8")
    return {**found, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def said(folder: Path, *argv: str) -> list[str]:
    done = subprocess.run(
        argv,
        cwd=folder,
        env=around(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def in_bash(folder: Path, line: str) -> list[str]:
    """What Tab would offer behind a line; of words that bash breaks, the last part of each."""
    offered = said(folder, "bash", "--norc", "-c", BASH, "bash", line)
    return sorted(each.strip() for each in offered if each)


def in_fish(folder: Path, line: str) -> list[str]:
    asked = f"source ./fish; complete -C {shlex.quote(line)}"
    return sorted(each.split("\t")[0] for each in said(folder, "fish", "--no-config", "-c", asked))


def in_zsh(folder: Path, line: str, until: str) -> None:
    """Press Tab behind a line until it says something: zsh completes on a terminal alone."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], around(folder))
    try:
        ready = "autoload -U compinit; compinit -u -D; source ./zsh; echo READY\n"
        typed(terminal, ready, "\nREADY")
        typed(terminal, f"{line}\t", until)
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)


def typed(terminal: int, text: str, until: str) -> None:
    """Type a text, and wait until the terminal shows the wanted one."""
    os.write(terminal, text.encode())
    shown, deadline = "", time.monotonic() + 60
    while until not in shown.replace("\r", ""):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {until!r} in {shown!r}"
        shown += os.read(terminal, 4096).decode()


def needs(shell: str) -> Any:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell} here")


ASK = [
    pytest.param(in_bash, id="bash", marks=needs("bash")),
    pytest.param(in_fish, id="fish", marks=needs("fish")),
]
Ask = Callable[[Path, str], list[str]]


@pytest.mark.parametrize("ask", ASK)
def test_commands_options_and_words_come_from_the_parser(stored: Path, ask: Ask) -> None:
    named = [each.name for each in COMMANDS if each.name.startswith("re")]
    assert ask(stored, "meerkat re") == sorted(named)
    assert ask(stored, "meerkat inputs support-1 --en") == ["--ended"]
    assert ask(stored, "meerkat redrive zoo --reason ") == sorted(map(str, AbandonCause))
    assert ask(stored, "meerkat runtimes --limit ") == []


@pytest.mark.parametrize("ask", ASK)
def test_runtimes_come_from_the_database_that_is_meant(stored: Path, ask: Ask) -> None:
    assert ask(stored, "meerkat show su") == ["support-1", "support-2"]
    known(stored / "other.db", ["super"])
    assert ask(stored, "meerkat show --store sqlite:///other.db su") == ["super"]
    before = {each.name for each in stored.iterdir()}
    assert ask(stored, "meerkat show --store sqlite:///none.db su") == []
    assert {each.name for each in stored.iterdir()} == before


@needs("bash")
def test_bash_breaks_words_and_is_given_their_last_part(stored: Path) -> None:
    assert in_bash(stored, "meerkat show rt:ses") == ["session:1", "session:2"]
    assert in_bash(stored, "meerkat show --store sqlite:///mee") == ["///meerkat.db"]
    assert in_bash(stored, "meerkat copy sqlite:///a.db sqlite:///mee") == ["///meerkat.db"]


@needs("fish")
def test_fish_takes_them_whole(stored: Path) -> None:
    assert in_fish(stored, "meerkat show rt:ses") == ["rt:session:1", "rt:session:2"]
    assert in_fish(stored, "meerkat show --store sqlite:///mee") == ["sqlite:///meerkat.db"]
    (stored / "file.jsonl").write_text("")
    assert in_fish(stored, "meerkat run file") == ["file.jsonl"]


@needs("zsh")
def test_zsh_writes_it_on_the_line(stored: Path) -> None:
    in_zsh(stored, "meerkat redrive z", until="meerkat redrive zoo ")


# --- where it is not asked, or cannot answer --------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(folder: Path, capsys: Any, shell: str) -> None:
    status, out, err = call(capsys, "completion", shell)
    assert (status, err) == (0, "")
    assert "meerkat" in out
    assert "_ARGCOMPLETE" in out


def test_a_shell_that_there_is_not(folder: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "completion", "csh")
    assert (status, out) == (2, "")
    assert "bash" in err


@pytest.fixture
def no_argcomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "actors.cli.completers", raising=False)
    for name in [each for each in sys.modules if each.split(".")[0] == "argcomplete"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "argcomplete", None)


@pytest.mark.usefixtures("no_argcomplete")
def test_without_argcomplete_it_is_said_what_to_install(folder: Path, capsys: Any) -> None:
    status, out, err = call(capsys, "completion", "bash")
    assert (status, out) == (1, "")
    assert "pip install 'meerkat-runtime[completion]'" in err


@pytest.mark.usefixtures("no_argcomplete")
def test_what_a_shell_asks_about_is_never_done(
    stored: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    assert call(capsys, "destroy", "zoo", "--yes")[:2] == (1, "")
    store = SqliteStore(stored / "meerkat.db")
    row = store.load_runtime(LogicalRuntimeId("zoo"))
    store.close()
    assert row is not None
    assert row.fence == 1


def test_names_are_few_and_none_where_nothing_can_be_read(folder: Path) -> None:
    many = [f"n{number:04d}" for number in range(NAMES_MAX + 20)]
    known(folder / "meerkat.db", many)
    store = "sqlite:///meerkat.db"
    assert runtime_ids("", store) == many[:NAMES_MAX]
    assert runtime_ids("n0115", store) == ["n0115"]
    assert runtime_ids("zzz", store) == []
    assert runtime_ids("-", store) == []
    assert runtime_ids("n", "mysql://x") == []
    (folder / "text.db").write_text("this is no database" * 100)
    assert runtime_ids("n", "sqlite:///text.db") == []
