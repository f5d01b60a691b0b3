"""``meerkat serve``: a page in a process of its own, with the database or beside it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest
from cli_support import (
    call,
    environment,
    lines_in,
    meerkat,
    prompt,
    start,
    summary_of,
    wait_until,
    write_inputs,
)
from test_cli_terminal import ESCAPES, on_a_terminal

from actors import ControlPlane
from actors.access import access_path, access_to
from actors.cli.serve import _say_end, _wait
from actors.cli.status import ExitStatus
from actors.stopping import ShutdownReport
from meerkat import PromptInput, RuntimeState
from meerkat.store import MemoryStore, SqliteStore

WORKS = ("--executor", "executors:answer")


@pytest.fixture
def stored(folder: Path) -> Path:
    """Two inputs of *a* wait."""
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register("a")
        for text in ("one", "two"):
            plane.ingest("a", PromptInput(text))
    return folder


@contextmanager
def served(
    folder: Path, *arguments: str, **more: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A page that is there, and what was said of it."""
    process = start("serve", "--json", *arguments, cwd=folder, **more)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=30)[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate(timeout=30)


def asked(url: str, token: str, path: str, body: Any = None) -> tuple[int, Any]:
    """What the page answers."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, sent, headers)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def ends(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# --- with the database ------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_works_what_waits_and_ends_in_order(stored: Path, number: signal.Signals) -> None:
    with served(stored, *WORKS) as (process, said):
        assert list(said) == ["url", "pid", "token_file"]
        assert said["pid"] == process.pid
        access = access_to(stored / "meerkat.db")
        assert access is not None
        assert said["token_file"] == str(access_path(stored / "meerkat.db"))
        assert (access.url, access.pid, access.allow_actions) == (said["url"], process.pid, False)
        wait_until(lambda: lines_in(stored / "runs.log") == ["one", "two"], "both runs")
        status, overview = asked(access.url, access.token, "/api/overview")
        assert (status, overview["live"], overview["allow_actions"]) == (200, True, False)
        status, out, err = ends(process, number)
        assert (status, out) == (130, "")
        assert err.splitlines()[0] == "meerkat: stopping; once more ends it at once"
        assert err.splitlines()[1].startswith("meerkat: stopped: ")
        assert len(err.splitlines()) == 2
    assert not Path(said["token_file"]).exists()


def test_a_stop_lets_the_run_in_hand_end_and_keeps_the_rest(stored: Path) -> None:
    with served(stored, *WORKS, RUN_S="1") as (process, _):
        wait_until(lambda: lines_in(stored / "runs.log"), "a run")
        _, _, err = ends(process, signal.SIGTERM)
        assert "1 runs in hand ended, 1 runtimes have work for the next start" in err
    assert lines_in(stored / "runs.log") == ["one"]


def test_a_second_signal_ends_it_at_once(stored: Path) -> None:
    with served(stored, *WORKS, RUN_S="600") as (process, _):
        wait_until(lambda: lines_in(stored / "runs.log"), "a run")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "once more" in process.stderr.readline()
        assert ends(process, signal.SIGINT)[0] == 130


def test_the_programs_of_a_command_end_with_it(stored: Path) -> None:
    (stored / "program.sh").write_text("echo $$ >> pids\nexec sleep 600\n")
    with served(stored, "--command", "sh program.sh") as (process, _):
        wait_until(lambda: lines_in(stored / "pids"), "a program")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        process.stderr.readline()
        ends(process, signal.SIGINT)
    stat = Path(f"/proc/{lines_in(stored / 'pids')[0]}/stat")
    wait_until(lambda: not stat.exists() or " Z " in stat.read_text(), "its end")


def test_what_it_is_told_to_do_it_does(stored: Path, capsys: Any) -> None:
    with served(stored, *WORKS, "--allow-actions"):
        assert call(capsys, "retire", "a", "--yes")[:1] == (0,)
        followed = start("events", "a", "--follow", "--after", "0", cwd=stored)
        assert followed.stdout is not None
        assert followed.stdout.readline()
        followed.kill()
        followed.communicate(timeout=30)
        top = json.loads(call(capsys, "top", "--once", "--json")[1])
        assert top["note"] is None
        assert top["figures"]["runs"] == 2


def test_a_database_that_is_not_there_yet_is_made(folder: Path) -> None:
    with served(folder, *WORKS) as (process, _):
        assert ends(process, signal.SIGTERM)[0] == 130
    assert (folder / "meerkat.db").exists()


def test_a_second_one_is_refused_with_the_owner_named(stored: Path) -> None:
    with served(stored, *WORKS) as (process, said):
        done = meerkat("serve", *WORKS, cwd=stored)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"is in use by process {process.pid} (" in done.stderr
        access = access_to(stored / "meerkat.db")
        assert access is not None
        assert access.url == said["url"]


def test_after_a_kill_the_next_one_works_the_rest(stored: Path) -> None:
    with served(stored, *WORKS, RUN_S="600") as (process, said):
        wait_until(lambda: lines_in(stored / "runs.log"), "a run")
        process.kill()
        process.wait(30)
        assert Path(said["token_file"]).exists()
        assert access_to(stored / "meerkat.db") is None
    with served(stored, *WORKS) as (process, said):
        access = access_to(stored / "meerkat.db")
        assert access is not None
        assert (access.pid, access.url) == (process.pid, said["url"])
        wait_until(lambda: lines_in(stored / "runs.log")[-1:] == ["two"], "the rest")


# --- beside it --------------------------------------------------------------------------


def test_without_an_executor_it_only_looks(stored: Path) -> None:
    before = sorted(path.name for path in stored.iterdir())
    with served(stored) as (process, said):
        assert list(said) == ["url", "pid", "token_file", "token"]
        assert said["token_file"] is None
        status, found = asked(said["url"], said["token"], "/api/runtimes")
        assert (status, found["runtimes"][0]["pending_inputs"]) == (200, 2)
        assert asked(said["url"], said["token"], "/api/overview")[1]["live"] is False
        order = {"id": "a", "verb": "stop"}
        assert asked(said["url"], said["token"], "/api/act", order)[0] == 403
        assert meerkat("pause", "a", cwd=stored).returncode == 0  # nobody has the database
        status, _, err = ends(process, signal.SIGTERM)
        assert (status, err) == (130, "meerkat: stopping; once more ends it at once\n")
    assert {path.name for path in stored.iterdir()} - set(before) <= {
        "meerkat.db-shm",
        "meerkat.db-wal",
    }


def test_it_looks_beside_an_owner_and_leaves_its_file_alone(stored: Path) -> None:
    with served(stored, *WORKS) as (owner, own), served(stored) as (process, said):
        assert asked(said["url"], said["token"], "/api/runtimes")[0] == 200
        access = access_to(stored / "meerkat.db")
        assert access is not None
        assert (access.pid, access.url) == (owner.pid, own["url"])
        ends(process, signal.SIGTERM)
        assert access_to(stored / "meerkat.db") == access


def test_it_takes_a_database_over_for_one_call_when_it_may(stored: Path) -> None:
    with served(stored, "--allow-actions") as (_, said):
        order = {"id": "a", "verb": "retire"}
        status, done = asked(said["url"], said["token"], "/api/act", order)
        assert (status, done["state"], done["inputs_abandoned"]) == (200, "retired", 2)
        order = {"id": "nobody", "verb": "retire"}
        assert asked(said["url"], said["token"], "/api/act", order)[0] == 404
        with ControlPlane(SqliteStore(stored / "meerkat.db")) as plane:
            assert plane.runtime_state("a") is RuntimeState.RETIRED
            order = {"id": "a", "verb": "destroy"}
            status, done = asked(said["url"], said["token"], "/api/act", order)
            assert status == 503
            assert "is in use by process" in done["error"]["text"]
            assert plane.runtime_state("a") is RuntimeState.RETIRED


# --- while a file is worked -------------------------------------------------------------


def test_a_run_shows_its_page_and_takes_calls_meanwhile(folder: Path, capsys: Any) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", f"k{n}") for n in range(3)])
    arguments = ("run", "i.jsonl", *WORKS, "--json", "--serve", "--allow-actions")
    process = start(*arguments, cwd=folder, RUN_S="1")
    assert process.stderr is not None
    said = process.stderr.readline()
    access = access_to(folder / "meerkat.db")
    assert access is not None
    assert said == f"meerkat: its page: {access.url}\n"
    wait_until(lambda: lines_in(folder / "runs.log"), "a run")
    overview = asked(access.url, access.token, "/api/overview")[1]
    assert overview["store"] == f"sqlite:///{folder / 'meerkat.db'}"
    assert overview["figures"]["runs_in_hand"] == 1
    assert call(capsys, "pause", "a") == (0, "a is running, and paused\n", "")
    status, out, err = ends(process, signal.SIGINT)
    assert status == 130
    assert summary_of(out)["completed"] == 1
    assert access.token not in err
    assert not access_path(folder / "meerkat.db").exists()


def test_a_run_from_memory_tells_its_token(folder: Path) -> None:
    write_inputs(folder / "i.jsonl", [prompt("a", "k")])
    done = meerkat("run", "i.jsonl", "--store", "memory:", "--serve", cwd=folder)
    assert done.returncode == 0
    assert "/?token=" in done.stderr


def test_actions_are_of_the_page(folder: Path, capsys: Any) -> None:
    status, _, err = call(capsys, "run", "i.jsonl", "--allow-actions")
    assert (status, err) == (2, "meerkat: --allow-actions: of the page of --serve\n")


# --- what is said -----------------------------------------------------------------------


def test_a_person_is_told_the_token_and_a_log_is_not(stored: Path) -> None:
    process = start("serve", *WORKS, cwd=stored)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    access = access_to(stored / "meerkat.db")
    assert access is not None
    _, out, err = ends(process, signal.SIGTERM)
    assert url == access.url
    assert access.token not in url + out + err
    assert f"its token is in {access_path(stored / 'meerkat.db')}" in err


def test_on_a_terminal_the_address_opens_the_page(stored: Path) -> None:
    (stored / "ends.py").write_text(
        "import os, signal\n"
        "def answer(context, primitive):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    raise ValueError\n"
    )
    status, written = on_a_terminal(stored, 200, "serve", "--executor", "ends:answer")
    assert status == 130
    shown = [line for line in ESCAPES.sub("", written).splitlines() if "?token=" in line]
    assert len(shown) == 1
    assert len(parse_qs(urlsplit(shown[0].strip()).query)["token"][0]) > 20


def test_a_plane_that_ends_by_itself_ends_it(capsys: Any) -> None:
    plane = ControlPlane(MemoryStore()).start()
    watch = plane.watch()
    plane.stop()
    assert _wait(SimpleQueue(), watch) is ExitStatus.STORE
    _say_end(ShutdownReport(failure="the disk\nis full", runs_left=2))
    assert capsys.readouterr().err.splitlines() == [
        "meerkat: it ended by itself: the disk is full",
        "meerkat: stopped: 2 were left",
    ]


# --- what cannot be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--store", "memory:"], 2, "is about a database file"),
        (["--store", "sqlite:///none.db"], 3, "there is no such file"),
        (["--executor", "nothing:here"], 2, "cannot import nothing"),
        (["--executor", "a:b", "--command", "c"], 2, "not allowed with"),
        (["--port", "65536"], 2, "is no port"),
        (["--port", "-1"], 2, "port"),
        (["--host", "0.0.0.0"], 2, "'0.0.0.0' is beyond this machine"),
        (["--host", "no.such.host.invalid"], 2, "no.such.host.invalid"),
        (["--token-file", "none"], 2, "none: No such file"),
        (["--token-file", "executors.py"], 2, "a token has 16 to 512 letters"),
        ([*WORKS, "--token-file", "executors.py"], 2, "a token has 16 to 512 letters"),
        ([*WORKS, "--host", "0.0.0.0"], 2, "'0.0.0.0' is beyond this machine"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    stored: Path, capsys: Any, arguments: list[str], status: int, says: str
) -> None:
    found, out, err = call(capsys, "serve", *arguments)
    assert (found, out) == (status, "")
    assert says in err
    assert len([line for line in err.splitlines() if line.startswith("meerkat: ")]) <= 1
    assert not (stored / "runs.log").exists()


def test_a_token_of_ones_own_opens_it_and_what_prometheus_reads(stored: Path) -> None:
    token = "a-token-of-my-own-choice"
    (stored / "token").write_text(f"{token}\n")
    with served(stored, *WORKS, "--token-file", "token") as (_, said):
        request = Request(f"{said['url']}metrics", headers={"Authorization": f"Bearer {token}"})
        text = urlopen(request, timeout=60).read().decode()
        assert "\nmeerkat_live_runtimes " in text
        assert asked(said["url"], "the-token-of-another", "/metrics")[0] == 401


@pytest.mark.parametrize("look", [lambda path: path.write_text("no database"), Path.mkdir])
def test_a_file_that_is_no_database_has_no_page(
    folder: Path, capsys: Any, look: Callable[[Path], object]
) -> None:
    look(folder / "other.db")
    status, out, err = call(capsys, "serve", "--store", "sqlite:///other.db")
    assert (status, out) == (3, "")
    assert "other.db" in err


@pytest.mark.parametrize("more", [(), WORKS])
def test_a_port_in_use_is_told_before_anything_is_begun(
    stored: Path, capsys: Any, more: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, out, err = call(capsys, "serve", "--port", port, *more)
    assert (status, out) == (2, "")
    assert err == f"meerkat: cannot serve at 127.0.0.1 port {port}: Address already in use\n"
    assert lines_in(stored / "runs.log") == []


def called(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """A program that calls the command line."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_its_extra_it_says_what_to_install(stored: Path) -> None:
    lacking = "sys.modules['starlette'] = None"
    done = called(stored, f"{lacking}\nfrom actors.cli import main\nsys.exit(main(['serve']))")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'meerkat-runtime[dashboard]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_rest_of_the_command_line_does_not_load_the_page(stored: Path) -> None:
    heavy = "{'starlette', 'uvicorn', 'actors.dashboard'}"
    done = called(stored, f"import actors.cli\nprint({heavy} & set(sys.modules))")
    assert (done.returncode, done.stdout) == (0, "set()\n")
