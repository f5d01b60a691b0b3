"""Calls by hand on a database that a process owns: it does them, over its page, or nobody does."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, start, wait_until
from fake_page import FakePage, serving
from test_cli_terminal import on_a_terminal

from actors import ControlPlane
from actors.dashboard import serve
from actors.verbs import VERBS
from meerkat import PromptInput, RuntimeState
from meerkat.store import SqliteStore

GIVES_UP = [name for name, verb in VERBS.items() if verb.asks is not None]


@contextmanager
def owner(folder: Path, **settings: Any) -> Iterator[ControlPlane]:
    """A process, this one, that has the database: two inputs of *a* wait."""
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register("a")
        for _ in range(2):
            plane.ingest("a", PromptInput("later"))
        if settings:
            with serve(plane, **settings):
                yield plane
        else:
            yield plane


@pytest.fixture
def plane(folder: Path) -> Iterator[ControlPlane]:
    """It serves a page that may act."""
    with owner(folder, allow_actions=True) as owned:
        yield owned


# --- through its page -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state", "count"),
    [
        ("recover", "idle", ("inputs_recovered", 2)),
        ("recycle", "idle", ("inputs_transferred", 2)),
        ("redrive", "idle", ("redriven", [])),
        ("retire", "retired", ("inputs_abandoned", 2)),
        ("stop", "stopped", ("inputs_abandoned", 2)),
        ("reset", "idle", ("inputs_abandoned", 2)),
        ("destroy", "destroyed", ("inputs_abandoned", 2)),
    ],
)
def test_the_owner_does_it_and_its_report_is_the_answer(
    plane: ControlPlane, capsys: Any, name: str, state: str, count: tuple[str, Any]
) -> None:
    status, out, err = call(capsys, name, "a", "--yes", "--json")
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert (said["runtime_id"], said["state"], said[count[0]]) == ("a", state, count[1])
    assert plane.runtime_state("a") is RuntimeState(state)


@pytest.mark.parametrize("name", VERBS)
def test_what_the_owner_did_is_said_as_if_it_were_done_by_hand(
    tmp_path: Path, capsys: Any, name: str
) -> None:
    for folder in ("owned", "free"):
        (tmp_path / folder).mkdir()
    with owner(tmp_path / "owned", allow_actions=True):
        arguments = (name, "a", "--yes", "--json", "--store")
        through = call(capsys, *arguments, f"sqlite:///{tmp_path}/owned/meerkat.db")
    with owner(tmp_path / "free"):
        pass
    assert call(capsys, *arguments, f"sqlite:///{tmp_path}/free/meerkat.db") == through


def test_a_pause_through_the_owner_holds(plane: ControlPlane, capsys: Any) -> None:
    assert call(capsys, "pause", "a") == (0, "a is idle, and paused\n", "")
    assert json.loads(call(capsys, "show", "a", "--json")[1])["paused"] is True
    assert call(capsys, "resume", "a") == (0, "a is idle, and not paused\n", "")
    assert "paused" not in json.loads(call(capsys, "show", "a", "--json")[1])


def test_inputs_that_are_picked_are_told_to_the_owner(plane: ControlPlane, capsys: Any) -> None:
    first, second = (str(each) for each in plane.active_input_ids("a"))
    plane.reset("a")
    status, out, _ = call(capsys, "redrive", "a", "--input", first, "--json")
    assert status == 0
    assert [pair["input_id"] for pair in json.loads(out)["redriven"]] == [first]
    status, out, _ = call(capsys, "redrive", "a", "--reason", "reset", "--json")
    assert [pair["input_id"] for pair in json.loads(out)["redriven"]] == [second]


@pytest.mark.parametrize("name", GIVES_UP)
def test_nothing_is_given_up_unasked(plane: ControlPlane, capsys: Any, name: str) -> None:
    status, out, err = call(capsys, name, "a")
    assert (status, out) == (2, "")
    assert "what waits is given up (inputs: 2)" in err
    assert plane.runtime_state("a") is RuntimeState.IDLE


def test_who_sits_at_a_terminal_is_asked(plane: ControlPlane, folder: Path) -> None:
    assert on_a_terminal(folder, 80, "stop", "a", typed=b"n\n")[0] == 1
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert on_a_terminal(folder, 80, "stop", "a", typed=b"y\n")[0] == 0
    assert plane.runtime_state("a") is RuntimeState.STOPPED


def test_what_the_owner_refuses_is_refused_in_the_same_words(
    plane: ControlPlane, capsys: Any
) -> None:
    assert call(capsys, "destroy", "a", "--yes")[0] == 0
    status, out, err = call(capsys, "destroy", "a", "--yes")
    assert (status, out, err) == (1, "", "meerkat: Invalid state for operation: destroyed\n")
    status, _, err = call(capsys, "recover", "nobody")
    assert (status, err) == (1, f"meerkat: Runtime not found: nobody, in {Path.cwd()}/meerkat.db\n")


# --- or not at all ----------------------------------------------------------------------


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("settings", [{}, {"allow_actions": False}])
def test_an_owner_that_cannot_be_asked_is_named_and_what_it_is_to_do(
    folder: Path, capsys: Any, name: str, settings: dict[str, Any]
) -> None:
    with owner(folder, **settings) as plane:
        status, out, err = call(capsys, name, "a", "--yes")
        assert (status, out) == (3, "")
        assert f"meerkat.db is in use by process {os.getpid()} (" in err
        assert "whose page only shows" in err if settings else "which serves no page" in err
        assert "--allow-actions)" in err if settings else "--serve --allow-actions)" in err
        assert f"{'stop_runtime' if name == 'stop' else name}('a') of its ControlPlane" in err
        assert len(err.splitlines()) == 1
        assert plane.runtime_state("a") is RuntimeState.IDLE
        assert len(plane.active_input_ids("a")) == 2


@pytest.fixture
def fake(folder: Path) -> Iterator[FakePage]:
    """The database is owned, and its file names a page that says what it is told to."""
    with owner(folder), serving(FakePage()) as page:
        page.file(folder / "meerkat.db")
        yield page


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ((429, "busy"), 1, "has too much in hand: busy; try again later"),
        ((503, "it stops"), 3, "cannot do it now: it stops"),
        ((403, "no"), 3, "refuses it: no"),
        ((401, "no"), 3, "does not know the token of its file"),
        ((500, "oops"), 3, "answers 500: oops"),
    ],
)
def test_an_owner_that_says_no_is_told(
    fake: FakePage, capsys: Any, answer: tuple[int, str], status: int, says: str
) -> None:
    fake.answers["/api/act"] = answer[0], {"error": {"code": "x", "text": answer[1]}}
    found, out, err = call(capsys, "stop", "a", "--yes")
    assert (found, out) == (status, "")
    assert f"process {os.getpid()} {says}" in err
    assert len(fake.asked) == 1


def test_an_answer_that_did_not_come_is_no_answer(fake: FakePage, capsys: Any) -> None:
    fake.answers["/api/act"] = lambda handler: None
    status, out, err = call(capsys, "stop", "a", "--yes")
    assert (status, out) == (3, "")
    assert "whether it is done is not known; look before it is asked again" in err


def test_a_file_that_others_may_write_sends_nothing_anywhere(
    fake: FakePage, folder: Path, capsys: Any
) -> None:
    (folder / "meerkat.db-page").chmod(0o606)
    status, _, err = call(capsys, "stop", "a", "--yes")
    assert status == 3
    assert "may be read or written by others" in err
    assert fake.asked == []


def test_a_page_that_is_gone_while_its_database_is_owned(
    fake: FakePage, folder: Path, capsys: Any
) -> None:
    fake.file(folder / "meerkat.db", url="http://127.0.0.1:9")
    status, _, err = call(capsys, "stop", "a", "--yes")
    assert status == 3
    assert "nobody answers at http://127.0.0.1:9" in err
    assert "stop_runtime('a') of its ControlPlane" in err


# --- what a killed owner leaves ---------------------------------------------------------


def test_a_killed_owner_leaves_a_file_that_stops_nobody(folder: Path, capsys: Any) -> None:
    with owner(folder):
        pass
    arguments = ("serve", "--executor", "executors:answer", "--allow-actions")
    killed = start(*arguments, cwd=folder, RUN_S="600")
    wait_until((folder / "meerkat.db-page").exists, "the page")
    assert call(capsys, "pause", "a")[0] == 0
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    path = folder / "meerkat.db-page"
    assert path.exists()
    said = f"meerkat: {path} is left over from a process that has ended\n"
    assert call(capsys, "resume", "a") == (0, "a is idle, and not paused\n", said)
    with owner(folder, allow_actions=True):
        assert call(capsys, "pause", "a") == (0, "a is idle, and paused\n", "")
    assert not path.exists()
    assert call(capsys, "resume", "a") == (0, "a is idle, and not paused\n", "")
