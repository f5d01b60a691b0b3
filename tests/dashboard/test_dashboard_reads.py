"""What the page says: the same as the command line, a page at a time, and nothing unasked."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from page_builders import CANARY, TOKEN, WAIT_S, Asking, answer_to, read, with_token
from prometheus_client.parser import text_string_to_metric_families

from actors import ControlPlane
from actors.cli import main
from actors.dashboard import Dashboard
from actors.dashboard.routes import ROUTES
from actors.verbs import VERBS
from actors.version import version
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import MemoryStore, SqliteStore

ON_A_FILE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def printed(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> Any:
    """What the command line says of the same database."""
    capsys.readouterr()
    assert main([*arguments, "--store", f"sqlite:///{path}", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def without(facts: dict[str, Any], *names: str) -> dict[str, Any]:
    assert set(names) <= facts.keys()
    return {name: value for name, value in facts.items() if name not in names}


# --- the same facts ---------------------------------------------------------------------


@ON_A_FILE
def test_runtimes_are_those_of_the_command_line(
    page: Dashboard, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for query, options in (
        ("", ()),
        ("sort=pending", ("--sort", "pending")),
        ("sort=oldest&limit=1", ("--sort", "oldest", "--limit", "1")),
        ("state=idle&state=stopped", ("--state", "idle", "--state", "stopped")),
    ):
        document = read(page, "/api/runtimes", query)
        theirs = printed(capsys, path, "runtimes", *options)
        for listing in (document, theirs):
            listing["runtimes"] = [without(each, "run") for each in listing["runtimes"]]
        assert document["runtimes"] == theirs["runtimes"]
        assert document["next"] == theirs["next"]


@ON_A_FILE
def test_a_runtime_is_that_of_the_command_line(
    page: Dashboard, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        document = read(page, "/api/runtime", f"id={name}")
        assert without(document, "run") == printed(capsys, path, "show", name)


@ON_A_FILE
def test_inputs_are_those_of_the_command_line_but_for_what_came_from_outside(
    page: Dashboard, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for query, options in (("id=a&ended=1", ("a", "--ended")), ("id=b", ("b",))):
        theirs = printed(capsys, path, "inputs", *options)["inputs"]
        found = read(page, "/api/inputs", query)["inputs"]
        assert found
        assert [without(each, "history") for each in found] == [
            without(each, "idempotency_key") for each in theirs
        ]
        asked = read(page, "/api/inputs", query + "&payload=1")["inputs"]
        whole = printed(capsys, path, "inputs", *options, "--payload")["inputs"]
        assert [without(each, "history") for each in asked] == whole


@ON_A_FILE
def test_receipts_are_those_of_the_command_line(
    page: Dashboard, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = read(page, "/api/receipts", "id=a")
    assert len(document["receipts"]) == 3
    assert document == printed(capsys, path, "receipts", "a")


@ON_A_FILE
def test_messages_are_those_of_the_command_line(
    page: Dashboard, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = read(page, "/api/messages", "id=a")
    assert without(document, "first", "total") == printed(capsys, path, "show", "a", "--messages")


# --- what there is besides ----------------------------------------------------------------


def test_the_overview(page: Dashboard, plane: ControlPlane) -> None:
    document = read(page, "/api/overview")
    assert document["version"] == version()
    assert (document["live"], document["allow_actions"]) == (True, True)
    assert document["owner"] is not None
    assert [verb["name"] for verb in document["verbs"]] == list(VERBS)
    assert document["figures"]["accepted"] == plane.figures().accepted == 4
    quiet = Dashboard(plane, token=TOKEN)
    assert read(quiet, "/api/overview")["allow_actions"] is False


def test_an_input_tells_its_history(page: Dashboard) -> None:
    first = read(page, "/api/inputs", "id=a&ended=1&limit=1")["inputs"][0]
    steps = [(step["from"], step["to"]) for step in first["history"]]
    assert steps[0] == ("accepted", "queued")
    assert steps[-1][1] == "consumed" == first["phase"]
    assert all(step["at"].endswith("Z") for step in first["history"])


def test_the_figures_as_they_are_just_now(page: Dashboard) -> None:
    figures = read(page, "/api/figures", "once=1")
    assert (figures["consumed"], figures["pending_inputs"]) == (3, 1)
    assert sum(figures["group_size"]["counts"]) == figures["commits"]
    assert figures["at"].endswith("Z")


def test_the_tree_of_supervision(page: Dashboard) -> None:
    tree = read(page, "/api/supervision")["tree"]
    assert (tree["name"], tree["state"]) == ("supervisor", "running")
    assert "journal" in {child["name"] for child in tree["children"]}


def test_the_runs_in_hand(path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def agent(_context: RunContext, _primitive: StagedInput) -> RunOutput:
        began.set()
        assert go_on.wait(WAIT_S)
        return RunOutput()

    with ControlPlane(SqliteStore(path), agent) as plane:
        page = Dashboard(plane, token=TOKEN)
        assert read(page, "/api/runs") == {"runs": []}
        plane.register("a")
        sent = plane.submit("a", PromptInput("long"))
        assert began.wait(WAIT_S)
        (run,) = read(page, "/api/runs")["runs"]
        assert (run["runtime_id"], run["attempt"]) == ("a", 1)
        assert read(page, "/api/runtimes")["runtimes"][0]["run"]["run_id"] == run["run_id"]
        assert read(Dashboard(SqliteStore(path), token=TOKEN), "/api/runs") == {"runs": []}
        go_on.set()
        sent.completion.result(WAIT_S)


def test_the_figures_as_prometheus_reads_them(page: Dashboard) -> None:
    answer = answer_to(page, Asking("/metrics", headers=with_token()))
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {each.name: each for each in text_string_to_metric_families(answer.body.decode())}
    (consumed,) = families["meerkat_consumed"].samples
    assert (consumed.name, consumed.value) == ("meerkat_consumed_total", 3.0)
    store = Dashboard(MemoryStore(), token=TOKEN)
    refused = answer_to(store, Asking("/metrics", headers=with_token()))
    assert (refused.status, refused.code) == (404, "not_live")


def test_without_its_extra_prometheus_is_told_what_to_install(
    page: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "actors.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = answer_to(page, Asking("/metrics", headers=with_token()))
    assert (answer.status, answer.code) == (501, "not_installed")
    assert "pip install 'meerkat-runtime[prometheus]'" in answer.json["error"]["text"]


def test_messages_a_part_at_a_time(page: Dashboard) -> None:
    whole = read(page, "/api/messages", "id=a")
    assert (whole["first"], whole["total"], len(whole["messages"])) == (0, 6, 6)
    last = read(page, "/api/messages", "id=a&limit=2")
    assert (last["first"], last["messages"]) == (4, whole["messages"][4:])
    first = read(page, "/api/messages", "id=a&limit=2&after=0")
    assert (first["first"], first["messages"]) == (0, whole["messages"][:2])
    assert read(page, "/api/messages", "id=a&after=99")["messages"] == []
    assert read(page, "/api/messages", "id=b")["messages"] == []


@pytest.mark.parametrize(
    ("route", "query"),
    [("runtimes", ""), ("inputs", "id=a&ended=1&"), ("receipts", "id=a&"), ("inputs", "id=c&")],
)
def test_page_after_page_comes_to_the_whole(
    page: Dashboard, plane: ControlPlane, route: str, query: str
) -> None:
    plane.register("c")
    plane.pause("c")
    for number in range(3):
        plane.ingest("c", PromptInput(f"{number}"))
    whole = read(page, f"/api/{route}", query)
    assert len(whole[route]) == 3
    assert whole["next"] is None
    found, after = [], ""
    for _ in range(3):
        part = read(page, f"/api/{route}", f"{query}limit=1{after}")
        found += part[route]
        after = f"&after={part['next']}"
    assert (found, part["next"]) == (whole[route], None)


def test_of_the_inputs_that_have_ended_the_newest_can_come_first(page: Dashboard) -> None:
    oldest = read(page, "/api/inputs", "id=a&ended=1")
    newest = read(page, "/api/inputs", "id=a&ended=1&newest=1")
    assert newest == {**oldest, "inputs": oldest["inputs"][::-1]}
    first = read(page, "/api/inputs", "id=a&ended=1&newest=1&limit=2")
    rest = read(page, "/api/inputs", f"id=a&ended=1&newest=1&limit=2&after={first['next']}")
    assert first["inputs"] + rest["inputs"] == newest["inputs"]
    assert rest["next"] is None
    gone = read(page, "/api/inputs", "id=a&ended=1&newest=1&after=nothing")
    assert gone == {"inputs": [], "next": None}
    assert read(page, "/api/inputs", "id=b&ended=1&newest=1")["inputs"] == []


# --- nothing unasked --------------------------------------------------------------------


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if each.method == "GET"], ids=lambda route: route.path
)
def test_what_came_from_outside_is_told_only_when_it_is_asked_for(
    page: Dashboard, route: Any
) -> None:
    for query in ("id=a", "id=a&ended=1", "id=b", "id=b&ended=0", "once=1&id=a", "after=0&id=a"):
        answer = answer_to(page, Asking(route.path, query=query, headers=with_token()))
        told = CANARY.encode() in answer.body
        assert told == (route.path == "/api/messages" and "id=a" in query)


def test_what_an_input_says_is_told_when_it_is_asked_for(page: Dashboard) -> None:
    (waiting,) = read(page, "/api/inputs", "id=b&payload=1")["inputs"]
    assert waiting["payload"]["content"] == waiting["idempotency_key"] == CANARY
    ended = read(page, "/api/inputs", "id=a&ended=1&payload=1")["inputs"]
    assert [each["payload"]["content"] for each in ended] == [f"{CANARY} {n}" for n in range(3)]


# --- what is asked wrongly --------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("runtimes", "sort=size"),
        ("runtimes", "state=gone"),
        ("runtimes", "limit=0"),
        ("runtimes", "limit=201"),
        ("runtimes", "limit=ten"),
        ("runtimes", "limit="),
        ("runtimes", "after=nowhere"),
        ("runtime", ""),
        ("runtime", "id="),
        ("runtime", "id=%00"),
        ("runtime", "id=%ff"),
        ("runtime", "id=a/../b%20"),
        ("inputs", "id=a&ended=yes"),
        ("inputs", "id=a&payload=true"),
        ("inputs", "id=a&payload=1&limit=21"),
        ("messages", "id=a&after=-1"),
        ("messages", "id=a&after=1e9"),
        ("events", "id=a&after=99999999999999999999"),
        ("events", "after=x"),
        ("figures", "once=2"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(page: Dashboard, route: str, query: str) -> None:
    answer = answer_to(page, Asking(f"/api/{route}", query=query, headers=with_token()))
    assert (answer.status, answer.code) == (400, "bad_request"), answer.body
    assert answer.json["error"]["text"].partition(":")[0] in {
        "sort",
        "state",
        "limit",
        "after",
        "id",
        "ended",
        "payload",
        "once",
    }


@ON_A_FILE
@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("runtimes", "after=99999999999999999999/a"),
        ("runtimes", "after=-99999999999999999999/a"),
        ("receipts", "id=a&after=nothing"),
        ("receipts", "id=a&after=%00"),
        ("receipts", "id=a&after=x/99999999999999999999"),
    ],
)
def test_a_place_that_no_page_has_named_is_refused(page: Dashboard, route: str, query: str) -> None:
    answer = answer_to(page, Asking(f"/api/{route}", query=query, headers=with_token()))
    assert (answer.status, answer.code) == (400, "bad_request"), answer.body


@pytest.mark.parametrize("route", ["runtime", "inputs", "receipts", "messages", "events"])
def test_of_a_runtime_that_nobody_knows_nothing_is_said(page: Dashboard, route: str) -> None:
    answer = answer_to(page, Asking(f"/api/{route}", query="id=zz", headers=with_token()))
    assert (answer.status, answer.code) == (404, "runtime_not_found")


def test_a_place_that_is_gone_is_an_empty_page(page: Dashboard) -> None:
    for query in ("id=a&after=nothing", "id=a&ended=1&after=nothing", "id=a&after=%00"):
        assert read(page, "/api/inputs", query) == {"inputs": [], "next": None}


# --- other sources ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_a_store_alone_is_read_and_nothing_runs_behind_it(kind: str, path: Path) -> None:
    store = SqliteStore(path) if kind == "sqlite" else MemoryStore()
    page = Dashboard(store, token=TOKEN, allow_actions=True)
    overview = read(page, "/api/overview")
    assert (overview["live"], overview["figures"]) == (False, None)
    assert read(page, "/api/runtimes") == {"runtimes": [], "next": None}
    for path_ in ("/api/supervision", "/api/events", "/api/figures"):
        answer = answer_to(page, Asking(path_, headers=with_token()))
        assert (answer.status, answer.code) == (404, "not_live")
    sent = ("content-type", "application/json")
    order = Asking("/api/act", "POST", headers=with_token(sent), body=b'{"id":"a","verb":"stop"}')
    assert answer_to(page, order).status == 404
    assert not path.exists()


@ON_A_FILE
def test_a_store_is_read_beside_its_owner(plane: ControlPlane, page: Dashboard, path: Path) -> None:
    beside = Dashboard(SqliteStore(path), token=TOKEN)
    for route, query in (
        ("runtimes", ""),
        ("runtime", "id=a"),
        ("inputs", "id=b"),
        ("receipts", "id=a"),
    ):
        assert read(beside, f"/api/{route}", query) == read(page, f"/api/{route}", query)


def test_a_plane_that_is_stopped_or_was_never_started_says_so(plane: ControlPlane) -> None:
    plane.stop()
    for each in (plane, ControlPlane(MemoryStore())):
        page = Dashboard(each, token=TOKEN)
        for route in ("overview", "runtimes", "supervision", "figures", "events"):
            answer = answer_to(page, Asking(f"/api/{route}", headers=with_token()))
            assert (answer.status, answer.code) == (503, "control_plane_stopped")


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(TypeError, match="not str"):
        Dashboard("sessions.db")  # type: ignore[arg-type]


@ON_A_FILE
def test_a_row_that_cannot_be_read_is_named_and_hides_no_other(
    page: Dashboard, plane: ControlPlane, path: Path
) -> None:
    plane.stop()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE runtimes SET state = 'x' WHERE runtime_id = 'a'")
    connection.close()
    beside = Dashboard(SqliteStore(path), token=TOKEN)
    bad, good = read(beside, "/api/runtimes")["runtimes"]
    assert bad["runtime_id"] == "a"
    assert "x" in bad["unreadable"]
    assert good["unreadable"] is None
    answer = answer_to(beside, Asking("/api/runtime", query="id=a", headers=with_token()))
    assert (answer.status, answer.code) == (503, "recovery_corruption")
