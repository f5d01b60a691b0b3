"""``meerkat events``: the histories of inputs in the order of time, the newest last."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cli_support import call

from actors import ControlPlane
from meerkat import LogicalRuntimeId, PromptInput
from meerkat.identifiers import CausationId
from meerkat.input_lifecycle import HistoryEntry, InputPhase
from meerkat.limits import Retention
from meerkat.store import Batch, InputRow, RuntimeRow, SqliteStore
from meerkat.testing.store_rows import START, input_id, prompt, row_of

A, B = LogicalRuntimeId("a"), LogicalRuntimeId("b")


def row(number: int, *seconds: float, **changes: Any) -> InputRow:
    """An input that something happened to so many seconds after the start."""
    times = [START + timedelta(seconds=each) for each in seconds]
    history = tuple(
        HistoryEntry(at, InputPhase.ACCEPTED, InputPhase.QUEUED, f"{number} at {second:g}")
        for at, second in zip(times, seconds, strict=True)
    )
    written = row_of(prompt(number), sequence=number)
    state = evolve(written.state, history=history, updated_at=times[-1], **changes)
    return evolve(written, state=state)


def stored(folder: Path, runtime_id: LogicalRuntimeId, *rows: InputRow) -> None:
    with_row = RuntimeRow(runtime_id=runtime_id, fence=1, next_admission_sequence=99)
    store = SqliteStore(folder / "meerkat.db")
    store.commit(Batch(runtime=with_row, expected_fence=0, inputs=rows))
    store.close()


def told(capsys: Any, *arguments: str) -> list[dict[str, Any]]:
    status, out, _ = call(capsys, "events", "--json", *arguments)
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def reasons(events: Iterable[dict[str, Any]]) -> list[str]:
    return [each["reason"] for each in events]


@pytest.fixture
def two_runtimes(folder: Path) -> Path:
    """What happens to *a*'s inputs and to *b*'s, in turns."""
    stored(folder, A, row(1, 0, 3, 8), row(2, 1))
    stored(folder, B, row(3, 2, 5.5), row(4, 4))
    return folder


def test_all_that_happened_is_in_the_order_of_time(two_runtimes: Path, capsys: Any) -> None:
    events = told(capsys)
    assert reasons(events) == [
        "1 at 0",
        "2 at 1",
        "3 at 2",
        "1 at 3",
        "4 at 4",
        "3 at 5.5",
        "1 at 8",
    ]
    assert events[-2] == {
        "runtime_id": "b",
        "input_id": str(input_id(3)),
        "at": "2026-01-01T00:00:05.500000Z",
        "from": "accepted",
        "to": "queued",
        "reason": "3 at 5.5",
        "correlation_id": None,
        "causation_id": None,
        "place": f"2026-01-01T00:00:05.500000Z/{input_id(3)}/1",
    }
    assert reasons(told(capsys, "b")) == ["3 at 2", "4 at 4", "3 at 5.5"]


@pytest.mark.parametrize("limit", range(1, 9))
def test_the_last_of_it_are_the_last_whatever_came_first(
    two_runtimes: Path, capsys: Any, limit: int
) -> None:
    whole = told(capsys)
    assert told(capsys, "--limit", str(limit)) == whole[-limit:]
    _, _, err = call(capsys, "events", "--limit", str(limit))
    assert ("there are earlier ones" in err) == (limit < len(whole))


def test_it_goes_on_behind_any_of_them(two_runtimes: Path, capsys: Any) -> None:
    whole = told(capsys)
    for number, each in enumerate(whole):
        assert told(capsys, "--after", each["place"]) == whole[number + 1 :]
        assert told(capsys, "--after", each["place"], "--limit", "2") == whole[number + 1 :][-2:]


def test_what_happened_at_one_moment_has_one_order(folder: Path, capsys: Any) -> None:
    stored(folder, A, *(row(number, 1, 1, 1) for number in (3, 1, 2)))
    whole = told(capsys)
    assert [each["input_id"] for each in whole] == [
        str(input_id(number)) for number in (1, 1, 1, 2, 2, 2, 3, 3, 3)
    ]
    after = [told(capsys, "--after", each["place"]) for each in whole]
    assert [len(each) for each in after] == [*range(8, -1, -1)]


def test_a_table_for_people_and_what_it_is_on_the_other_stream(
    two_runtimes: Path, capsys: Any
) -> None:
    status, out, err = call(capsys, "events", "a", "--limit", "1")
    assert status == 0
    heading, line = out.splitlines()
    assert heading.split() == ["AT", "RUNTIME", "INPUT", "FROM", "TO", "REASON"]
    assert line.split("  ")[0] == "2026-01-01T00:00:08Z"
    assert "histories of inputs" in err
    assert f"--after 2026-01-01T00:00:08Z/{input_id(1)}/2" in err


def test_where_nothing_happened(folder: Path, capsys: Any) -> None:
    stored(folder, A)
    status, out, err = call(capsys, "events", "a")
    assert (status, out) == (0, "")
    assert "no events" in err
    status, _, err = call(capsys, "events", "nobody")
    assert (status, err) == (1, f"meerkat: Runtime not found: nobody, in {Path.cwd()}/meerkat.db\n")


def test_what_was_let_go_is_not_there_and_takes_no_place(folder: Path, capsys: Any) -> None:
    kept, gone = row(1, 0), row(2, 9)
    ended = row_of(prompt(2), InputPhase.CONSUMED, 0)
    ended = evolve(gone, state=evolve(ended.state, history=gone.state.history, updated_at=START))
    stored(folder, A, ended, kept)
    assert reasons(told(capsys)) == ["1 at 0", "2 at 9"]
    store = SqliteStore(folder / "meerkat.db")
    store.prune(Retention(max_count=0), datetime.now(UTC))
    store.close()
    assert reasons(told(capsys, "--limit", "1")) == ["1 at 0"]


def test_beside_a_process_that_runs_it(folder: Path, capsys: Any) -> None:
    cause = CausationId.new()
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register("a")
        plane.ingest("a", PromptInput("x", causation_id=cause))
        (event,) = told(capsys)
    assert (event["to"], event["causation_id"]) == ("queued", str(cause))


@pytest.mark.parametrize(
    "place",
    [
        "",
        "yesterday",
        f"2026-01-01T00:00:08Z/{input_id(1)}",
        f"2026-01-01T00:00:08/{input_id(1)}/2",
        f"2026-01-01T00:00:08+01:00/{input_id(1)}/2",
        "2026-01-01T00:00:08Z/1/2",
        f"2026-01-01T00:00:08Z/{input_id(1)}/x",
    ],
)
def test_a_place_that_no_line_has_named(two_runtimes: Path, capsys: Any, place: str) -> None:
    status, out, err = call(capsys, "events", "--after", place)
    assert (status, out) == (2, "")
    assert "is no place of an event" in err


def test_a_row_that_cannot_be_read_is_named(two_runtimes: Path, capsys: Any) -> None:
    with sqlite3.connect(two_runtimes / "meerkat.db") as database:
        spoil = "UPDATE inputs SET phase = 'consumed' WHERE input_id = ?"
        database.execute(spoil, (str(input_id(4)),))
    database.close()
    status, _, err = call(capsys, "events")
    assert status == 3
    assert str(input_id(4)) in err
    assert "meerkat doctor says what to do" in err
