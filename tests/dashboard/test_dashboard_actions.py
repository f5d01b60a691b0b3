"""Actions: done when the page may, by the calls that there are, and reported as they report."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from page_builders import TOKEN, WAIT_S, Answer, Asking, answer_to, answered, read, with_token

from actors import ControlPlane
from actors.dashboard import Dashboard
from actors.dashboard.actions import BODY_BYTES_MAX
from actors.dashboard.desk import ACTS_MAX
from actors.verbs import VERBS
from meerkat import RuntimeState
from meerkat.store import MemoryStore, SqliteStore

JSON = ("content-type", "application/json")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def asking(body: Any, *headers: tuple[str, str]) -> Asking:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Asking("/api/act", "POST", headers=with_token(*(headers or (JSON,))), body=sent)


def done(page: Dashboard, verb: str, name: str = "b", **more: Any) -> Answer:
    return answer_to(page, asking({"id": name, "verb": verb, **more}))


def test_what_is_done_is_reported_as_the_command_line_reports_it(
    page: Dashboard, plane: ControlPlane
) -> None:
    answer = done(page, "retire")
    assert answer.status == 200
    assert answer.json == {
        "runtime_id": "b",
        "state": "retired",
        "inputs_abandoned": 0,
        "inputs_pending_drain": 1,
    }
    assert plane.runtime_state("b") is RuntimeState.RETIRED


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_done(page: Dashboard, plane: ControlPlane, verb: str) -> None:
    answer = done(page, verb, "a")
    assert answer.status == 200, answer.body
    assert answer.json["runtime_id"] == "a"
    assert answer.json["state"] == str(plane.runtime_state("a"))


def test_inputs_are_picked_for_the_verb_that_takes_them(
    page: Dashboard, plane: ControlPlane
) -> None:
    done(page, "stop")
    done(page, "reset")
    (given_up,) = read(page, "/api/inputs", "id=b&ended=1")["inputs"]
    answer = done(page, "redrive", input_ids=[given_up["input_id"]])
    assert answer.status == 200, answer.body
    assert len(answer.json["redriven"]) == 1
    assert done(page, "pause", input_ids=[given_up["input_id"]]).code == "bad_request"
    assert done(page, "redrive", input_ids="all").code == "bad_request"
    assert done(page, "redrive", input_ids=["one"]).code == "bad_request"


def test_a_page_that_only_shows_does_nothing(plane: ControlPlane) -> None:
    page = Dashboard(plane, token=TOKEN)
    for verb in VERBS:
        answer = done(page, verb)
        assert (answer.status, answer.code) == (403, "read_only")
    assert read(page, "/api/runtime", "id=b")["pending_inputs"] == 1


def test_a_store_of_which_nobody_knows_who_has_it_can_be_told_nothing() -> None:
    answer = done(Dashboard(MemoryStore(), token=TOKEN, allow_actions=True), "pause")
    assert (answer.status, answer.code) == (404, "not_live")


def test_a_database_that_nobody_has_is_taken_over_for_the_one_call(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    page = Dashboard(SqliteStore(path), token=TOKEN, allow_actions=True)
    assert done(page, "pause").code == "runtime_not_found"
    assert not path.exists()
    with ControlPlane(SqliteStore(path)) as plane:
        plane.register("b")
        refused = done(page, "pause")
        assert (refused.status, refused.code) == (503, "store_error")
        assert str(os.getpid()) in refused.json["error"]["text"]
        assert read(page, "/api/runtimes")["runtimes"][0]["paused"] is False
    assert done(page, "pause").status == 200
    assert read(page, "/api/runtimes")["runtimes"][0]["paused"] is True


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", (JSON,)),
        (b"{", (JSON,)),
        (b"\xff", (JSON,)),
        (b"[]", (JSON,)),
        (b"null", (JSON,)),
        (b'{"id": "b", "verb": "pause", "verb": "stop"}', (JSON,)),
        ({}, (JSON,)),
        ({"id": "b"}, (JSON,)),
        ({"verb": "pause"}, (JSON,)),
        ({"id": "b", "verb": "__class__"}, (JSON,)),
        ({"id": "b", "verb": ["pause"]}, (JSON,)),
        ({"id": "", "verb": "pause"}, (JSON,)),
        ({"id": "b", "verb": "stop", "of_a_version_to_come": True}, (JSON,)),
        ({"id": 5, "verb": "pause"}, (JSON,)),
        ({"id": "b", "verb": "pause"}, (("content-type", "text/plain"),)),
        (b"id=b&verb=pause", (("content-type", "application/x-www-form-urlencoded"),)),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_and_not_done(
    page: Dashboard, plane: ControlPlane, body: Any, headers: Any
) -> None:
    plane.resume("b")
    answer = answer_to(page, asking(body, *headers))
    assert (answer.status, answer.code) == (400, "bad_request")
    assert plane.runtime_state("b") is not RuntimeState.STOPPED


def test_a_body_has_a_longest(page: Dashboard) -> None:
    whole = json.dumps({"id": "b", "verb": "pause"}).ljust(BODY_BYTES_MAX).encode()
    assert answer_to(page, asking(whole)).status == 200
    answer = answer_to(page, asking(whole + b" "))
    assert (answer.status, answer.code) == (413, "too_large")


def test_a_body_that_does_not_come_is_not_waited_for(
    page: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.dashboard.actions.BODY_S", 0.01)
    answer = answer_to(page, evolve(asking(b"{"), more_body=True))
    assert (answer.status, answer.code) == (400, "too_slow")


def test_what_the_plane_refuses_is_said_with_its_code(page: Dashboard) -> None:
    assert (done(page, "pause", "zz").status, done(page, "pause", "zz").code) == (
        404,
        "runtime_not_found",
    )
    done(page, "destroy")
    answer = done(page, "reset")
    assert (answer.status, answer.code) == (409, "invalid_state")


def test_actions_that_take_long_hold_up_no_reading_and_are_bounded(
    page: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, begun = threading.Event(), threading.Semaphore(0)

    def act(*_given: Any) -> dict[str, Any]:
        begun.release()
        let_go.wait(WAIT_S)
        return {}

    monkeypatch.setattr(page._desk.source, "act", act)

    async def main() -> None:
        pause = asking({"id": "b", "verb": "pause"})
        under_way = [asyncio.create_task(answered(page, pause)) for _ in range(ACTS_MAX)]
        for _ in under_way:
            assert await asyncio.to_thread(begun.acquire, timeout=WAIT_S)
        busy = await answered(page, pause)
        assert (busy.status, busy.code) == (429, "busy")
        looked = await answered(page, Asking("/api/runtimes", headers=with_token()))
        assert looked.status == 200
        let_go.set()
        assert [(await each).status for each in under_way] == [200] * ACTS_MAX

    asyncio.run(main())
