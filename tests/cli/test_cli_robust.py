"""Every command, wherever its output goes and whatever is missing around it: no traceback.

Its exit status is one of the table, and the same as when all is there, but for what the missing
thing makes of it. All commands in all places are some hundred calls, so they start warm; where
the start itself may matter, a few start in the cold.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import pytest
from attrs import frozen
from cli_support import command_of, environment, prompt, write_inputs
from test_cli_terminal import ESCAPES, on_a_terminal
from warm_starts import WarmStart

from actors import ControlPlane
from actors.cli import main
from actors.cli.arguments import COMMANDS
from actors.cli.status import ExitStatus
from actors.verbs import VERBS
from meerkat import PromptInput
from meerkat.store import SqliteStore

PROGRAM: Final = ("actors.cli", "actors.cli.completers", "actors.cli.top_frame")
"""The command line, and what it else imports when that is needed."""

NARROW: Final = 40
ODD: Final = "ünïcode \U0001f9a6 \x1b[31m"
"""What a session may say: no locale has all of it, and no terminal is to obey it."""

WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("more.jsonl",),
    "show": ("a", "--messages"),
    "runtimes": (),
    "inputs": ("a", "--ended", "--payload"),
    "receipts": ("a",),
    "events": (),
    "top": ("--once",),
    "doctor": (),
    "backup": ("copy.db",),
    "copy": ("sqlite:///meerkat.db", "sqlite:///moved.db"),
    "prune": ("--max-age-days", "1", "--yes"),
    "vacuum": (),
    "completion": ("bash",),
    **dict.fromkeys(VERBS, ("b", "--yes")),
}
"""What each command is called with. ``serve`` goes on until it is ended, and is not among them."""

ENDLESS: Final = {"serve"}
BY_NAME: Final = pytest.mark.parametrize("name", WORDS)
KNOWN: Final = {int(status) for status in ExitStatus}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with something of everything: *a* has worked, *b* has some that waits."""
    folder = tmp_path_factory.mktemp("robust")
    path = folder / "meerkat.db"
    lines = [prompt("a", f"a{n}", content=f"{ODD}{n}") for n in range(3)]
    write_inputs(folder / "i.jsonl", lines)
    arguments = ["run", str(folder / "i.jsonl"), "--store", f"sqlite:///{path}", "--json"]
    assert main(arguments) == 0
    with ControlPlane(SqliteStore(path)) as plane:
        plane.register("b")
        plane.ingest("b", PromptInput(ODD))
        plane.reset("b")
        plane.ingest("b", PromptInput(ODD))
    return path


@pytest.fixture
def place(folder: Path, database: Path) -> Path:
    """A folder with a copy of the database."""
    shutil.copy(database, folder / "meerkat.db")
    write_inputs(folder / "more.jsonl", [prompt("c", "c1", content=ODD)])
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmStart]:
    with WarmStart(environment(), *PROGRAM) as start:
        yield start


@pytest.fixture(scope="session")
def without_locale() -> Iterator[WarmStart]:
    """Neither the system nor Python puts another in its place."""
    left = {k: v for k, v in environment().items() if not k.startswith(("LC_", "LANG"))}
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    with WarmStart({**left, **ascii_only}, *PROGRAM) as start:
        yield start


@frozen
class Ended:
    """How a call ended, and what it wrote."""

    status: int
    out: str
    err: str


def ended(
    start: WarmStart, place: Path, *arguments: str, closed: Container[int] = (), **to: int
) -> Ended:
    """Call the command line; ``to`` says what its standard streams are, if not kept here."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with Path(os.devnull).open() as nothing:
            usual = {"stdin": nothing.fileno(), "stdout": out.fileno(), "stderr": err.fileno()}
            streams = [
                None if number in closed else stream
                for number, stream in enumerate({**usual, **to}.values())
            ]
            status = start.begin(*arguments, cwd=place, streams=streams).wait()
        return checked(status, *(read_from_the_start(each) for each in (out, err)))


def read_from_the_start(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def checked(status: int, out: str, err: str) -> Ended:
    """What holds of every call."""
    assert "Traceback" not in out + err, err
    assert "Exception ignored" not in err, err
    assert status in KNOWN
    return Ended(status, out, err)


def test_every_command_is_called_here() -> None:
    assert {each.name for each in COMMANDS} == {*WORDS, *ENDLESS}


# --- readers that go away ---------------------------------------------------------------


@BY_NAME
def test_nobody_reads_the_output(warm: WarmStart, place: Path, name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = ended(warm, place, name, *WORDS[name], stdout=writer)
    os.close(writer)
    assert done.status in (128 + signal.SIGPIPE, ExitStatus.OK)  # some say nothing there
    assert "cannot write" not in done.err


@BY_NAME
def test_nobody_reads_either_stream(warm: WarmStart, place: Path, name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended(warm, place, name, *WORDS[name], stdout=writer, stderr=writer)
    os.close(writer)


@BY_NAME
@pytest.mark.parametrize("streams", [(0,), (1,), (0, 1, 2)], ids=["stdin", "stdout", "all"])
def test_a_stream_that_was_closed_before(
    warm: WarmStart, place: Path, name: str, streams: tuple[int, ...]
) -> None:
    done = ended(warm, place, name, *WORDS[name], closed=streams)
    assert done.status == ExitStatus.OK


@pytest.mark.parametrize("name", ["run", "show"])
def test_a_start_in_the_cold_with_all_streams_closed(place: Path, name: str) -> None:
    def close() -> None:
        os.closerange(0, 3)

    command = command_of(name, *WORDS[name])
    done = subprocess.run(
        command, cwd=place, env=environment(), preexec_fn=close, timeout=60, check=False
    )
    assert done.returncode == ExitStatus.OK


@BY_NAME
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_disk_that_is_full_under_the_output(warm: WarmStart, place: Path, name: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = ended(warm, place, name, *WORDS[name], stdout=full.fileno())
    said = "cannot write: No space left on device" in done.err
    assert done.status == (ExitStatus.TROUBLE if said else ExitStatus.OK)


# --- terminals and locales --------------------------------------------------------------


@BY_NAME
@pytest.mark.parametrize(
    "around",
    [{"TERM": "xterm-256color"}, {"TERM": "dumb", "NO_COLOR": "1"}],
    ids=["colours", "dumb"],
)
def test_forty_columns(warm: WarmStart, place: Path, name: str, around: dict[str, str]) -> None:
    status, written = on_a_terminal(place, NARROW, name, *WORDS[name], warm=warm, **around)
    assert status == ExitStatus.OK
    assert "Traceback" not in written
    assert "\x1b[31m" not in written  # what a session says is not obeyed
    colours = {each for each in ESCAPES.findall(written) if each.endswith("m")}
    assert not colours - {"\x1b[0m", "\x1b[m"} or "NO_COLOR" not in around


@BY_NAME
def test_no_locale(without_locale: WarmStart, place: Path, name: str) -> None:
    done = ended(without_locale, place, name, *WORDS[name])
    assert done.status == ExitStatus.OK
    assert done.out.isascii()
