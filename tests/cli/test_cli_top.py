"""``meerkat top``: what is drawn, from whom it is known, and on which terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, command_of, environment, meerkat, start, wait_until
from fake_page import FIGURES, FakePage, overview, runtime, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from actors import ControlPlane
from actors.cli.glance import Glances, Sort
from actors.cli.rates import percentile, rate, seen_since
from actors.cli.top_frame import WIDTH_MIN, Glance, frame
from actors.clock import SystemClock
from meerkat import PromptInput
from meerkat.store import SqliteStore
from meerkat.store.ownership import this_process

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = {
    **FIGURES,
    "at": "2026-01-01T11:59:58Z",
    "accepted": 480,
    "consumed": 395,
    "accept_to_durable_s": {"bounds": [0.001, 0.01, 0.1], "counts": [90, 0, 0, 0], "total": 0.1},
}
RUN = {
    "run_id": "r",
    "attempt": 2,
    "began_at": "2026-01-01T11:58:00Z",
    "input_ids": ["i"],
    "quiet_s": 64.0,
    "stuck": True,
}


# --- figures ----------------------------------------------------------------------------


def test_a_rate_is_since_the_look_before_or_since_the_start() -> None:
    assert rate("accepted", EARLIER, FIGURES) == 10
    assert rate("accepted", None, FIGURES) == 5
    assert rate("accepted", {**EARLIER, "started_at": "2026-01-01T10:00:00Z"}, FIGURES) == 5
    assert rate("accepted", FIGURES, FIGURES) == 5
    assert rate("accepted", None, {**FIGURES, "started_at": FIGURES["at"]}) == 0


def test_what_was_seen_since_the_look_before() -> None:
    assert seen_since("accept_to_durable_s", EARLIER, FIGURES)["counts"] == [0, 10, 0, 0]
    nothing_new = seen_since("accept_to_consumed_s", EARLIER, FIGURES)
    assert nothing_new == FIGURES["accept_to_consumed_s"]
    assert seen_since("accept_to_durable_s", None, FIGURES) == FIGURES["accept_to_durable_s"]


@pytest.mark.parametrize(
    ("counts", "q", "value"),
    [
        ([0, 0, 0], 0.5, None),
        ([4, 0, 0], 0.5, 0.5),
        ([4, 0, 0], 1.0, 1.0),
        ([0, 4, 0], 0.5, 2.0),
        ([2, 2, 0], 0.5, 1.0),
        ([2, 2, 0], 0.75, 2.0),
        ([1, 0, 1], 0.99, float("inf")),
        ([0, 0, 1], 0.0, float("inf")),
    ],
)
def test_a_percentile_lies_within_its_bucket(
    counts: list[int], q: float, value: float | None
) -> None:
    assert percentile({"bounds": [1.0, 3.0], "counts": counts, "total": 0.0}, q) == value


@settings(deadline=None)  # a machine under load is no failure
@given(st.lists(st.integers(0, 9), min_size=5, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_has_no_smaller_value(counts: list[int], a: float, b: float) -> None:
    histogram = {"bounds": [1.0, 2.0, 4.0, 8.0], "counts": counts, "total": 0.0}
    low, high = (percentile(histogram, q) for q in sorted((a, b)))
    assert (low is None) == (high is None) == (not any(counts))
    if low is not None and high is not None:
        assert 0 <= low <= high


def test_a_share_is_from_0_to_1() -> None:
    with pytest.raises(ValueError, match="a share"):
        percentile(FIGURES["accept_to_durable_s"], 1.5)


# --- the frame --------------------------------------------------------------------------

BUSY = Glance(
    store="sqlite:///sessions.db",
    at=NOON,
    owner="process 1 (agent)",
    figures=FIGURES,
    before=EARLIER,
    runtimes=[
        runtime("support-42", pending_inputs=1200, oldest_at="2026-01-01T11:59:00Z", run=RUN),
        runtime("a\x1b[31m[bold]", state="stopped", set_aside="the disk\nis full"),
        runtime("later", paused=True),
        runtime("gone", registered=False),
        runtime("broken", state=None, registered=None, unreadable="no JSON"),
    ],
)


def test_the_frame_of_a_process_that_works() -> None:
    drawn = frame(BUSY, 80)
    assert drawn.head == (
        "store    sqlite:///sessions.db 12:00:00 UTC",
        "owner    process 1 (agent)",
        "rate     10.0 accepted/s, 2.5 consumed/s, 0.0 runs/s",
        "runs     2 of 64 in hand",
        "inputs   7 pending, oldest waits 1 min",
        "durable  p50 5.5 ms, p99 9.91 ms",
        "consumed p50 10 ms, p99 >0.1 s",
        "memory   3 runtimes",
    )
    told = (drawn.heading, *drawn.rows)
    assert [re.sub(" +", " ", line) for line in told] == [
        "RUNTIME STATE PENDING OLDEST RUN TRY NOTE",
        "support-42 running 1,200 1 min 2 min 2 no sign for 64 s",
        "a\ufffd[31m[bold] stopped 1 set aside: the disk is full",
        "later idle 1 paused",
        "gone idle 1 unregistered",
        "broken 1 unreadable: no JSON",
    ]
    assert drawn.lines == (*drawn.head, "", *told)


def test_the_first_frame_says_since_when_its_rates_are() -> None:
    first = frame(Glance(store="s", at=NOON, figures=FIGURES), 80)
    assert "rate     5.0 accepted/s, 4.0 consumed/s, 4.1 runs/s, since the start" in first.head
    assert first.lines[-1] == "no runtime has anything to do"


def test_trouble_is_shown_once_there_is_some() -> None:
    figures = {**FIGURES, "restarts": 2, "dead_letters": 1, "waiting_for_slot": 5, "set_aside": 4}
    shown = frame(Glance(store="s", at=NOON, figures=figures), 80).head
    assert "so far   2 restarts, 1 dead letters" in shown
    assert "runs     2 of 64 in hand, 5 wait for a slot" in shown
    assert "memory   3 runtimes, 4 set aside" in shown


def test_without_a_process_the_frame_says_what_is_stored() -> None:
    shown = frame(Glance(store="a.db", at=NOON, note="nobody serves", runtimes=BUSY.runtimes), 40)
    assert shown.head == ("store a.db 12:00:00 UTC", "note  nobody serves")


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (20, ["RUNTIME", "PENDING"]),
        (30, ["RUNTIME", "PENDING", "RUN"]),
        (40, ["RUNTIME", "PENDING", "OLDEST", "RUN"]),
        (52, ["RUNTIME", "PENDING", "OLDEST", "RUN", "NOTE"]),
        (60, ["RUNTIME", "STATE", "PENDING", "OLDEST", "RUN", "NOTE"]),
    ],
)
def test_a_narrow_terminal_keeps_what_matters_most(width: int, columns: list[str]) -> None:
    assert frame(BUSY, width).heading.split() == columns


def test_a_name_that_does_not_fit_is_cut_on_its_line() -> None:
    long = Glance(store="s", at=NOON, runtimes=[runtime("rt:session:" + "0" * 36)] * 2)
    assert [row.partition("\u2026")[0][:11] for row in frame(long, 40).rows] == ["rt:session:"] * 2
    assert all("\u2026" in row for row in frame(long, 40).rows)


@settings(deadline=None)  # a machine under load is no failure
@given(st.text(max_size=80), st.integers(-5, 200), st.text(max_size=200))
def test_no_line_is_wider_than_the_terminal_whatever_names_are(
    name: str, width: int, aside: str
) -> None:
    glance = Glance(
        store=name,
        at=NOON,
        owner=name,
        note=aside,
        figures=FIGURES,
        before=EARLIER,
        runtimes=[runtime(name, set_aside=aside, pending_inputs=10**9, run=RUN)] * 2,
    )
    for line in frame(glance, width).lines:
        assert cell_len(line) <= max(width, WIDTH_MIN)
        assert line.isprintable()


# --- who tells it -----------------------------------------------------------------------


@pytest.fixture
def stored(folder: Path) -> Path:
    """One input of *a* waits, two of *b*, none of *c*."""
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register_many(["a", "b", "c"])
        for runtime_id in ("a", "b", "b"):
            plane.ingest(runtime_id, PromptInput("later"))
    return folder


@pytest.fixture
def fake(stored: Path) -> Iterator[FakePage]:
    with serving(FakePage()) as page:
        page.answers["/api/overview"] = 200, overview()
        page.answers["/api/runtimes"] = 200, {"runtimes": [runtime("of-the-page")], "next": None}
        page.file(stored / "meerkat.db")
        yield page


def shown(capsys: Any, *more: str) -> dict[str, Any]:
    status, out, err = call(capsys, "top", "--once", "--json", *more)
    assert (status, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(("sort", "order"), [("pending", "ba"), ("oldest", "ab"), ("age", "ab")])
def test_from_the_store_alone(stored: Path, capsys: Any, sort: str, order: str) -> None:
    said = shown(capsys, "--sort", sort)
    assert [each["runtime_id"] for each in said["runtimes"]] == list(order)
    assert said["note"] == "nobody serves a page for it: this is what is stored"
    assert said["figures"] is said["now"] is said["owner"] is None
    listed = json.loads(call(capsys, "runtimes", "--json")[1])["runtimes"]
    assert {json.dumps(each) for each in said["runtimes"]} < {json.dumps(e) for e in listed}


def test_an_owner_without_a_page_is_named_all_the_same(stored: Path, capsys: Any) -> None:
    with ControlPlane(SqliteStore(stored / "meerkat.db")):
        said = shown(capsys)
        assert said["note"] == "nobody serves a page for it: this is what is stored"
        assert said["owner"] == this_process()
    assert shown(capsys)["owner"] is None


def test_from_the_page_of_the_process_that_works(fake: FakePage, capsys: Any) -> None:
    said = shown(capsys)
    assert (said["owner"], said["note"]) == (f"process {os.getpid()}", None)
    assert said["figures"] == FIGURES
    assert said["now"] == {
        "accepted_a_s": 5.0,
        "consumed_a_s": 4.0,
        "runs_a_s": 4.1,
        "accept_to_durable_p50_s": pytest.approx(0.00055, abs=1e-4),
        "accept_to_durable_p99_s": pytest.approx(0.0091),
        "accept_to_consumed_p50_s": pytest.approx(0.01),
        "accept_to_consumed_p99_s": None,
    }
    assert [each["runtime_id"] for each in said["runtimes"]] == ["of-the-page"]


def test_a_page_is_asked_for_the_order_and_no_more_than_it_gives(fake: FakePage) -> None:
    glances = Glances(SqliteStore("meerkat.db"), "s", Sort.AGE, SystemClock())
    young = {**RUN, "began_at": "2026-01-01T11:59:59Z"}
    fake.answers["/api/runtimes"] = (
        200,
        {
            "runtimes": [
                runtime("waits"),
                runtime("rests", pending_inputs=0),
                runtime("young", run=young),
                runtime("old", pending_inputs=0, run=RUN),
            ],
            "next": None,
        },
    )
    names = [each["runtime_id"] for each in glances.look(1_000).runtimes]
    assert names == ["old", "young", "waits"]
    assert fake.asked[-1][2] == {"sort": "oldest", "limit": "200"}
    assert [each["runtime_id"] for each in glances.look(1).runtimes] == ["old"]
    assert fake.asked[-1][2] == {"sort": "oldest", "limit": "200"}
    Glances(SqliteStore("meerkat.db"), "s", Sort.PENDING, SystemClock()).look(7)
    assert fake.asked[-1][2] == {"sort": "pending", "limit": "7"}


def test_a_page_that_only_looks_says_so(fake: FakePage, capsys: Any) -> None:
    fake.answers["/api/overview"] = 200, overview(live=False, owner=None, figures=None)
    assert shown(capsys)["note"] == "the page only looks: this is what is stored"


def test_a_page_that_nobody_serves_any_more_is_told_and_the_store_read(
    stored: Path, capsys: Any
) -> None:
    gone = FakePage()
    gone.server.server_close()
    gone.file(stored / "meerkat.db")
    said = shown(capsys)
    assert f"nobody answers at {gone.url}" in said["note"]
    assert len(said["runtimes"]) == 2


@pytest.mark.parametrize("status", [404, 503])
def test_a_page_that_refuses_is_told_and_the_store_read(
    fake: FakePage, capsys: Any, status: int
) -> None:
    fake.answers["/api/overview"] = status, {"error": {"code": "x", "text": "it stops"}}
    said = shown(capsys)
    assert "it stops" in said["note"]
    assert len(said["runtimes"]) == 2


def test_a_page_of_another_version_is_told_and_not_read(fake: FakePage, capsys: Any) -> None:
    fake.answers["/api/overview"] = 200, {"version": "7.5"}
    said = shown(capsys)
    assert "is of version 7.5" in said["note"]
    assert len(said["runtimes"]) == 2


def test_a_file_that_others_may_write_is_not_used(fake: FakePage, capsys: Any) -> None:
    Path("meerkat.db-page").chmod(0o666)
    assert "may be read or written by others" in shown(capsys)["note"]
    assert fake.asked == []


def test_owners_come_and_go(fake: FakePage) -> None:
    glances = Glances(SqliteStore("meerkat.db"), "s", Sort.PENDING, SystemClock())
    assert glances.look(9).before is None
    assert glances.look(9).before == FIGURES
    Path("meerkat.db-page").rename("kept")
    alone = glances.look(9)
    assert (alone.figures, len(alone.runtimes)) == (None, 2)
    Path("kept").rename("meerkat.db-page")
    assert glances.look(9).before is None


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--store", "memory:"], 2, "is about a database file"),
        (["--store", "sqlite:///none.db"], 3, "there is no such file"),
        (["--interval", "0"], 2, "is no number from 0.1 on"),
        (["--interval", "nan"], 2, "is no number from 0.1 on"),
        (["--interval", "inf"], 2, "is no number from 0.1 on"),
        (["--interval", "x"], 2, "is no number from 0.1 on"),
        (["--sort", "size"], 2, "invalid choice"),
    ],
)
def test_what_cannot_be_shown(
    folder: Path, capsys: Any, arguments: list[str], status: int, says: str
) -> None:
    assert call(capsys, "top", "--once", *arguments)[0] == status
    assert says in call(capsys, "top", "--once", *arguments)[2]
    assert sorted(path.name for path in folder.iterdir()) == ["executors.py"]


# --- terminals --------------------------------------------------------------------------


class Terminal:
    """A terminal, and ``top`` on it."""

    def __init__(self, folder: Path, columns: int, *arguments: str, **more: str) -> None:
        self._controller, terminal = pty.openpty()
        self.written = ""
        self.resize(columns)
        self._before = termios.tcgetattr(terminal)
        self._terminal = terminal
        self.process = subprocess.Popen(
            command_of("top", *arguments),
            cwd=folder,
            env=environment(**{"TERM": "xterm-256color", **more}),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )

    def resize(self, columns: int) -> None:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, size)

    def until(self, pattern: str) -> None:
        """Read until it has shown something, from here on."""
        place = len(self.written)

        def found() -> object:
            while select.select([self._controller], [], [], 0.01)[0]:
                self.written += os.read(self._controller, 65536).decode(errors="replace")
            return re.search(pattern, self.written[place:])

        wait_until(found, pattern)

    def types(self, text: bytes) -> None:
        os.write(self._controller, text)

    def end(self) -> int:
        """Wait until it ends; the terminal has to be as it was."""
        self.until(re.escape("\x1b[?1049l"))
        status = self.process.wait(30)
        assert termios.tcgetattr(self._terminal) == self._before
        assert self.written.rfind("\x1b[?25h") > self.written.rfind("\x1b[?25l")
        assert "Traceback" not in self.written
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self._controller)
        os.close(self._terminal)


@contextmanager
def on_terminal(folder: Path, columns: int, *arguments: str, **more: str) -> Iterator[Terminal]:
    terminal = Terminal(folder, columns, *arguments, **more)
    try:
        yield terminal
    finally:
        terminal.close()


def test_q_ends_it_and_the_terminal_is_as_it_was(fake: FakePage, stored: Path) -> None:
    with on_terminal(stored, 80, "--interval", "0.1") as terminal:
        terminal.until("since the start(.|\n)*of-the-page")
        terminal.until("10.0 accepted|0.0 accepted|5.0 accepted")
        terminal.types(b"xq")
        assert terminal.end() == 0


def test_a_resize_is_drawn_at_once(fake: FakePage, stored: Path) -> None:
    with on_terminal(stored, 80, "--interval", "3600") as terminal:
        terminal.until("STATE(.|\n)*of-the-page")
        terminal.resize(24)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.until("RUNTIME +PENDING *\x1b")
        terminal.types(b"q")
        assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(fake: FakePage, stored: Path, number: int) -> None:
    with on_terminal(stored, 80, "--interval", "3600") as terminal:
        terminal.until("of-the-page")
        os.kill(terminal.process.pid, number)
        assert terminal.end() == 130
        assert "meerkat: " not in terminal.written


def test_a_dumb_terminal_gets_plain_frames(stored: Path) -> None:
    with on_terminal(stored, 40, "--interval", "0.1", TERM="dumb") as terminal:
        terminal.until("RUNTIME +PENDING(.|\n)*RUNTIME +PENDING")
        assert "\x1b" not in terminal.written
        assert max(map(len, terminal.written.splitlines())) <= 40


def test_a_pipe_gets_plain_frames_until_its_reader_leaves(stored: Path) -> None:
    process = start("top", "--interval", "0.1", cwd=stored, FORCE_COLOR="1", COLUMNS="40")
    assert process.stdout is not None
    assert process.stderr is not None
    seen = list[str]()
    while sum("RUNTIME" in line for line in seen) < 2:
        seen.append(process.stdout.readline())
    assert not set("\x1b\r") & set("".join(seen))
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_line_of_json_each_time(stored: Path) -> None:
    process = start("top", "--json", "--interval", "0.1", cwd=stored)
    assert process.stdout is not None
    for _ in range(2):
        assert len(json.loads(process.stdout.readline())["runtimes"]) == 2
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize("more", [{"LC_ALL": "C"}, {"NO_COLOR": "1"}, {"COLUMNS": "20"}])
def test_once_whatever_the_environment(stored: Path, more: dict[str, str]) -> None:
    done = meerkat("top", "--once", cwd=stored, **more)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RUNTIME" in done.stdout
    assert "\x1b" not in done.stdout
