"""``meerkat redrive``: what was given up is back, and what is not is said."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_support import call

from actors import ControlPlane
from actors.verbs import VERBS, picked
from meerkat import InputId, PromptInput
from meerkat.input_lifecycle import AbandonCause
from meerkat.limits import Limits
from meerkat.redrive import redriven_id
from meerkat.store import SqliteStore


@pytest.fixture
def given_up(folder: Path) -> list[InputId]:
    """Two inputs of *a* that a stop gave up, and a third that a reset did."""
    sent = [PromptInput(text) for text in ("first", "second", "third")]
    with ControlPlane(SqliteStore(folder / "meerkat.db")) as plane:
        plane.register("a")
        for each in sent[:2]:
            plane.ingest("a", each)
        plane.stop_runtime("a")
        plane.reset("a")
        plane.ingest("a", sent[2])
        plane.reset("a")
    return [each.id for each in sent]


def waiting(capsys: Any) -> list[str]:
    _, out, _ = call(capsys, "inputs", "a", "--json")
    return [each["input_id"] for each in json.loads(out)["inputs"]]


def back(*input_ids: InputId) -> list[dict[str, str]]:
    pairs = ((str(each), str(redriven_id(each))) for each in input_ids)
    return [{"input_id": old, "redriven_as": new} for old, new in pairs]


def test_all_of_it_for_a_program(given_up: list[InputId], capsys: Any) -> None:
    status, out, err = call(capsys, "redrive", "a", "--json")
    assert (status, err) == (0, "")
    said = {"runtime_id": "a", "state": "idle", "redriven": back(*given_up), "skipped": []}
    assert json.loads(out) == said
    assert waiting(capsys) == [str(redriven_id(each)) for each in given_up]
    status, out, _ = call(capsys, "redrive", "a", "--json")
    assert (status, json.loads(out)["redriven"]) == (0, [])


def test_people_are_told_how_many_and_each_that_is_missing(
    given_up: list[InputId], capsys: Any
) -> None:
    unknown = InputId.new()
    named = [f"--input={each}" for each in (given_up[1], unknown)]
    status, out, _ = call(capsys, "redrive", "a", *named)
    assert status == 1
    assert out == f"a is idle\nredriven: 1\nskipped: {unknown} unknown\n"
    status, out, _ = call(capsys, "redrive", "a", "--input", str(given_up[1]))
    again = f"{given_up[1]} redriven_already {redriven_id(given_up[1])}"
    assert (status, out) == (0, f"a is idle\nredriven: 0\nskipped: {again}\n")


def test_only_what_was_given_up_for_a_reason(given_up: list[InputId], capsys: Any) -> None:
    _, out, _ = call(capsys, "redrive", "a", "--reason", "reset", "--json")
    assert json.loads(out)["redriven"] == back(given_up[2])
    words = "--reason", "stopped", "--reason", "cancelled"
    _, out, _ = call(capsys, "redrive", "a", *words, "--json")
    assert json.loads(out)["redriven"] == back(*given_up[:2])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--input", "7"), "lower-case hyphenated UUID"),
        (("--input", str(InputId.new()).upper()), "lower-case hyphenated UUID"),
        (("--reason", "boredom"), "max_attempts_exhausted"),
    ],
)
def test_what_names_no_input_and_no_reason(
    given_up: list[InputId], capsys: Any, wrong: tuple[str, str], said: str
) -> None:
    status, out, err = call(capsys, "redrive", "a", *wrong)
    assert (status, out) == (2, "")
    assert said in err
    assert waiting(capsys) == []


def test_without_room_for_all_it_says_what_to_do(
    given_up: list[InputId], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = partial(ControlPlane, limits=Limits(pending_inputs_max=2))
    monkeypatch.setattr("actors.by_hand.ControlPlane", narrow)
    status, out, err = call(capsys, "redrive", "a")
    assert (status, out) == (1, "")
    assert "pending_inputs_max" in err
    assert "call it again" in err
    assert waiting(capsys) == [str(redriven_id(each)) for each in given_up[:2]]


# --- what a request may say -------------------------------------------------------------


def test_a_request_picks_inputs_and_causes() -> None:
    one = InputId.new()
    request = {"id": "a", "verb": "redrive", "input_ids": [str(one)], "causes": ["reset"]}
    assert picked(VERBS["redrive"], request) == {
        "input_ids": (one,),
        "causes": (AbandonCause.RESET,),
    }
    assert picked(VERBS["redrive"], {"input_ids": None}) == {}
    assert picked(VERBS["reset"], {"id": "a", "verb": "reset"}) == {}


@pytest.mark.parametrize(
    ("verb", "request_"),
    [
        ("reset", {"input_ids": []}),
        ("redrive", {"input_ids": "text"}),
        ("redrive", {"input_ids": [7]}),
        ("redrive", {"input_ids": ["7"]}),
        ("redrive", {"causes": ["boredom"]}),
        ("redrive", {"causes": {"reset": 1}}),
    ],
)
def test_a_request_that_picks_nothing_there_is(verb: str, request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"input_ids|causes"):
        picked(VERBS[verb], request_)
