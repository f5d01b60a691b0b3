"""The recorded airline sessions: where they are, and an executor that replays them.

Each user message of a recording opens a turn: it and everything up to the next one. The
executor finds its turn by counting the user messages that are committed, so a transcript
comes out right only if every input was consumed once and in order.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from meerkat import RunContext, RunOutput, StagedInput
from meerkat.interfaces import AsyncRunContext

_BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("MEERKAT_AIRLINE_DATA", _BESIDE_THE_PROJECT))
INPUTS = DATA / "airline-inputs.jsonl"
SESSIONS = DATA / "airline-sessions.jsonl"

_CALLS = itertools.count(1)

INPUT_COUNT = 757
SESSION_COUNT = 100
TOOL_RESULT_COUNT = 572
TOOL_TURN_COUNT = 281
"""Turns in which a tool is called at all."""

needs_recordings = pytest.mark.skipif(
    not SESSIONS.exists(), reason="the airline recordings are not beside the project"
)


@cache
def recorded_sessions() -> dict[str, list[dict[str, Any]]]:
    """The recorded messages of each runtime."""
    lines = SESSIONS.read_text(encoding="utf-8").splitlines()
    sessions = [json.loads(line) for line in lines]
    return {session["runtime_id"]: session["messages"] for session in sessions}


@cache
def recorded_turns(runtime_id: str) -> list[list[dict[str, Any]]]:
    """A recording, cut before each user message."""
    turns: list[list[dict[str, Any]]] = []
    for message in recorded_sessions()[runtime_id]:
        if message["role"] == "user":
            turns.append([])
        turns[-1].append(message)
    return turns


def recorded_tool_results(runtime_id: str) -> list[dict[str, Any]]:
    """The messages of a recording that are what a tool has answered."""
    return [each for each in recorded_sessions()[runtime_id] if each["role"] == "tool"]


def recorded_inputs() -> list[dict[str, Any]]:
    """The stream of inputs, as lines of a file for ``meerkat run``."""
    return [json.loads(line) for line in INPUTS.read_text(encoding="utf-8").splitlines()]


def next_turn(
    context: RunContext | AsyncRunContext, primitive: StagedInput
) -> tuple[int, list[dict[str, Any]]]:
    """The number and the messages of the turn that is due; fail if the input is another's."""
    done = sum(message["role"] == "user" for message in context.messages)
    turn = recorded_turns(str(context.runtime_id))[done]
    if turn[0]["content"] != primitive.text:
        raise AssertionError(f"turn {done} of {context.runtime_id} came out of order")
    return done, turn


def replay(context: RunContext, primitive: StagedInput) -> RunOutput:
    """Append the recorded turn that answers this input; fail if it is not the next one."""
    done, turn = next_turn(context, primitive)
    return RunOutput(append=turn, result=done)


def replay_until_killed(context: RunContext, primitive: StagedInput) -> RunOutput:
    """The same, in a process that kills itself some time after its n-th run began."""
    if next(_CALLS) == int(os.environ["MEERKAT_KILL_AT_RUN"]):
        delay_s = float(os.environ["MEERKAT_KILL_DELAY_S"])
        threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return replay(context, primitive)


def replay_slowly(context: RunContext, primitive: StagedInput) -> RunOutput:
    """The same, and a model takes its time."""
    context.cancelled.wait(1)
    return replay(context, primitive)


def replay_unreliably(context: RunContext, primitive: StagedInput) -> RunOutput:
    """The same, but about every third first or second attempt fails, before or after."""
    chance = zlib.crc32(f"{primitive.contributing_input_ids[0]}/{context.attempt}".encode()) % 6
    fails = context.attempt < 3
    if fails and chance == 0:
        raise RuntimeError("unreliable before its work")
    output = replay(context, primitive)
    if fails and chance == 1:
        raise RuntimeError("unreliable after its work")
    return output
