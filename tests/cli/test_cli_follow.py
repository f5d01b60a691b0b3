"""``meerkat events --follow``: what happens in the process that has the database, as it happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, command_of, environment, start
from fake_page import FakePage, overview, serving, stream

from actors import ControlPlane
from actors.cli import following
from actors.dashboard import serve
from meerkat import PromptInput
from meerkat.store import SqliteStore

END = b"event: end\ndata: {}\n\n"


@pytest.fixture
def plane(folder: Path) -> Iterator[ControlPlane]:
    """A process, this one, that has the database and serves its page."""
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as owner:
        owner.register_many(["a", "b"])
        with serve(owner):
            yield owner


@pytest.fixture
def fake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePage]:
    """A page that streams what it is told to; nobody waits long for it."""
    monkeypatch.setattr(following, "AGAIN_S", (0.01,) * 3)
    (folder / "meerkat.db").touch()
    with serving(FakePage()) as page:
        page.answers["/api/overview"] = 200, overview()
        page.file(folder / "meerkat.db")
        yield page


def envelope(number: int, code: str = "run.started", **more: Any) -> dict[str, Any]:
    return {
        "id": "e",
        "runtime_id": "a",
        "sequence": number,
        "timestamp": "2026-01-01T12:00:00Z",
        "event": {"category": "run_lifecycle", "data": {"code": code, **more}},
    }


def event(number: int, **more: Any) -> bytes:
    return b"id: %d\nevent: event\ndata: %b\n\n" % (
        number,
        json.dumps(envelope(number, **more)).encode(),
    )


def gap(requested: int, through: int) -> bytes:
    said = {"requested": requested, "dropped_through": through, "watermark": through + 1}
    return b"event: gap\ndata: %b\n\n" % json.dumps(said).encode()


def in_turn(*answers: Callable[[Any], None]) -> Callable[[Any], None]:
    """One answer after the other."""
    waiting = iter(answers)

    def answer(handler: Any) -> None:
        next(waiting)(handler)

    return answer


def cut() -> None:
    """The end of a connection that says no more."""


def streams_asked(fake: FakePage) -> list[tuple[dict[str, str], str | None]]:
    return [
        (query, headers.get("Last-Event-ID"))
        for _, path, query, headers, _ in fake.asked
        if path == "/api/events"
    ]


# --- of a process that runs -------------------------------------------------------------


def test_what_happens_is_printed_as_it_happens(plane: ControlPlane, folder: Path) -> None:
    follower = start("events", "a", "--follow", "--after", "0", "--json", cwd=folder)
    assert follower.stdout is not None
    plane.ingest("b", PromptInput("of another"))
    plane.ingest("a", PromptInput("secret words", correlation_id=None))
    first = json.loads(follower.stdout.readline())
    seen = [first]
    while seen[-1].get("event", {}).get("data", {}).get("code") != "input.accepted":
        seen.append(json.loads(follower.stdout.readline()))
    plane.retire("a")
    while seen[-1]["event"]["data"]["code"] != "topology.runtime_retired":
        seen.append(json.loads(follower.stdout.readline()))
    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=30)
    assert (follower.returncode, err) == (130, "")
    told = [each for each in seen if "gap" not in each]
    assert {each["runtime_id"] for each in told} == {"a"}
    numbers = [each["sequence"] for each in told]
    assert numbers == sorted(set(numbers))
    assert "secret words" not in json.dumps(seen) + out


def test_it_ends_when_the_owner_stops(plane: ControlPlane, folder: Path) -> None:
    follower = start("events", "a", "--follow", "--after", "0", cwd=folder)
    assert follower.stdout is not None
    assert follower.stdout.readline()
    plane.stop()
    _, err = follower.communicate(timeout=30)
    assert (follower.returncode, err) == (0, "meerkat: its owner has stopped\n")


def test_a_reader_that_leaves_ends_it(fake: FakePage, folder: Path) -> None:
    fake.answers["/api/events"] = stream(event(1), event(2), event(3), then=lambda: None)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command_of("events", "--follow"),
        cwd=folder,
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(
    plane: ControlPlane, folder: Path, number: signal.Signals
) -> None:
    follower = start("events", "a", "--follow", "--after", "0", cwd=folder)
    assert follower.stdout is not None
    assert follower.stdout.readline()
    follower.send_signal(number)
    _, err = follower.communicate(timeout=30)
    assert (follower.returncode, err) == (130, "")


# --- what is printed --------------------------------------------------------------------


def test_a_line_for_people_and_one_for_programs(fake: FakePage, capsys: Any) -> None:
    told = [event(7, run_id="r", note="two\nlines \x1b[31m"), gap(7, 9), END]
    fake.answers["/api/events"] = in_turn(stream(*told), stream(*told))
    status, out, err = call(capsys, "events", "a", "--follow", "--after", "6")
    assert (status, err) == (0, "meerkat: its owner has stopped\n")
    assert out.splitlines() == [
        "2026-01-01T12:00:00Z a 7 run.started run_id=r note=two lines \ufffd[31m",
        "a gap: what came after 7, up to 9, is not known any more",
    ]
    status, out, _ = call(capsys, "events", "a", "--follow", "--after", "6", "--json")
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["event"]["data"]["run_id"] == "r"
    assert second == {"gap": {"requested": 7, "dropped_through": 9, "watermark": 10}}
    assert streams_asked(fake) == [({"id": "a"}, "6")] * 2


# --- when the page cannot be reached any more -------------------------------------------


def test_it_goes_on_behind_the_last_event_that_it_has_printed(fake: FakePage, capsys: Any) -> None:
    fake.answers["/api/events"] = in_turn(
        stream(event(4), event(5), b"id: 6\nevent: ev", then=cut), stream(event(6), END)
    )
    status, out, err = call(capsys, "events", "a", "--follow", "--json")
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == [4, 5, 6]
    assert streams_asked(fake) == [({"id": "a"}, None), ({"id": "a"}, "5")]
    assert status == 0
    assert err.splitlines() == [
        f"meerkat: process {os.getpid()} ended the connection; looking for it again",
        "meerkat: its owner has stopped",
    ]


def test_what_no_number_can_ask_for_is_said_to_be_missing(fake: FakePage, capsys: Any) -> None:
    unnumbered = event(4).partition(b"\n")[2]
    fake.answers["/api/events"] = in_turn(stream(unnumbered, then=cut), stream(unnumbered, END))
    status, out, err = call(capsys, "events", "--follow")
    assert (status, len(out.splitlines())) == (0, 2)
    assert "what happened meanwhile is not known" in err


def test_the_next_owner_is_found_by_its_own_file(fake: FakePage, folder: Path, capsys: Any) -> None:
    with serving(FakePage()) as another:
        another.answers["/api/overview"] = 200, overview()
        another.answers["/api/events"] = stream(event(9), END)
        fake.answers["/api/events"] = stream(
            event(4), then=lambda: another.file(folder / "meerkat.db")
        )
        status, out, _ = call(capsys, "events", "a", "--follow", "--json")
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == [4, 9]
    assert status == 0
    assert streams_asked(another) == [({"id": "a"}, "4")]


def test_an_owner_that_does_not_come_back_is_waited_for_so_long(
    fake: FakePage, folder: Path, capsys: Any
) -> None:
    path = fake.file(folder / "meerkat.db")
    fake.answers["/api/events"] = stream(event(4), then=path.unlink)
    status, out, err = call(capsys, "events", "a", "--follow")
    assert (status, len(out.splitlines())) == (3, 1)
    assert err.splitlines()[-1] == f"meerkat: process {os.getpid()} ended the connection"


# --- when there is nothing to follow ----------------------------------------------------


def test_an_owner_without_a_page_is_named(folder: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(folder / "meerkat.db")):
        status, out, err = call(capsys, "events", "--follow")
    assert (status, out) == (3, "")
    assert f"is in use by process {os.getpid()} (" in err
    assert "which serves no page: have it serve one" in err


@pytest.mark.parametrize("left", [False, True])
def test_a_database_that_nobody_has_is_told(folder: Path, capsys: Any, left: bool) -> None:
    with ControlPlane(SqliteStore(folder / "meerkat.db")):
        pass
    if left:
        with subprocess.Popen(["true"]) as ended:
            ended.wait()
        FakePage().file(folder / "meerkat.db", pid=ended.pid)
    status, out, err = call(capsys, "events", "--follow")
    assert (status, out) == (3, "")
    assert "no process has it, so nothing happens" in err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--after", "3"], 2, "name a RUNTIME"),
        (["a", "--after", "x"], 2, "'x' is no number of an event"),
        (["a", "--after", "-1"], 2, "-1"),
        (["--store", "memory:"], 2, "is about a database file"),
        (["--store", "sqlite:///none.db"], 3, "there is no such file"),
    ],
)
def test_what_cannot_be_followed(
    folder: Path, capsys: Any, arguments: list[str], status: int, says: str
) -> None:
    found, out, err = call(capsys, "events", "--follow", *arguments)
    assert (found, out) == (status, "")
    assert says in err


def test_a_runtime_that_is_not_there(plane: ControlPlane, capsys: Any) -> None:
    status, _, err = call(capsys, "events", "nobody", "--follow")
    assert (status, err) == (1, "meerkat: Runtime not found: nobody\n")


def test_a_page_of_another_version_is_not_followed(fake: FakePage, capsys: Any) -> None:
    fake.answers["/api/overview"] = 200, overview(version="7.5")
    status, _, err = call(capsys, "events", "--follow")
    assert status == 3
    assert "is of version 7.5" in err
    assert streams_asked(fake) == []


def test_a_page_of_a_store_has_no_events(fake: FakePage, capsys: Any) -> None:
    told = {"error": {"code": "not_live", "text": "nothing runs behind it"}}
    fake.answers["/api/events"] = 404, told
    assert call(capsys, "events", "--follow")[::2] == (1, "meerkat: nothing runs behind it\n")
