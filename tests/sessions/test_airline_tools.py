"""Real sessions whose every tool call is a background operation of the session.

Whatever happens to the runs in between, the transcripts come out equal, each call is in its
session's feed once, and the runtime has gone on by itself at most once for what ended in a
run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from airline import (
    INPUT_COUNT,
    INPUTS,
    SESSION_COUNT,
    TOOL_RESULT_COUNT,
    TOOL_TURN_COUNT,
    needs_recordings,
    recorded_inputs,
    recorded_sessions,
    recorded_tool_results,
    recorded_turns,
)
from checks import (
    check_all_operations_stored,
    check_all_replayed,
    check_bindings,
    stored_continuations,
)
from tool_agents import WAIT_S, CoroutineToolAgent, ToolAgent, UnreliableToolAgent

from actors import ControlPlane
from actors.settings import MAX_CONCURRENT_RUNS
from meerkat import CompletionHandle, Input, from_json
from meerkat.errors import ControlPlaneStopped
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

pytestmark = needs_recordings

Agent = ToolAgent | CoroutineToolAgent


@pytest.fixture(params=[ToolAgent, CoroutineToolAgent])
def agent(request: pytest.FixtureRequest) -> Agent:
    made: Agent = request.param()
    return made


def open_plane(path: Path, agent: Agent, **settings: Any) -> ControlPlane:
    """A plane that knows every recorded session."""
    settings["backoff"] = Backoff(base_s=0.001)
    plane = ControlPlane(SqliteStore(path), agent, **settings).start()
    plane.register_many(recorded_sessions())
    return plane


def submit(plane: ControlPlane, lines: Iterable[dict[str, Any]]) -> list[CompletionHandle]:
    """Offer lines of the stream; gives their handles once all have been accepted."""
    submitted = [plane.submit(line["runtime_id"], input_of(line)) for line in lines]
    for submission in submitted:
        assert not submission.accepted.exception(WAIT_S)
    return [submission.completion for submission in submitted]


def input_of(line: dict[str, Any]) -> Input:
    return from_json(Input, json.dumps(line["input"]))


def work_off(handles: Iterable[CompletionHandle]) -> None:
    for handle in handles:
        outcome = handle.result(WAIT_S)
        assert outcome.kind is CompletionKind.COMPLETED, outcome


def settle(plane: ControlPlane) -> None:
    """Wait until nothing is left, of what the runtimes have injected themselves either.

    The end of an operation is in its runtime's mailbox before whoever waits for it goes on:
    once a run is over, its continuation is found here.
    """
    for runtime_id in recorded_sessions():
        while active := plane.active_input_ids(runtime_id):
            for input_id in active:
                plane.completion(runtime_id, input_id).result(WAIT_S)


def tool_turns(runtime_id: str) -> int:
    """How many turns of a session call a tool."""
    turns = recorded_turns(runtime_id)
    return sum(any(message["role"] == "tool" for message in turn) for turn in turns)


def check_the_end(path: Path, plane: ControlPlane, *, kills: int = 0) -> None:
    """What must hold when all is done: now, and after a restart, to which nothing is left.

    Each kill may have taken one more continuation, for what it had cut off.
    """
    settle(plane)
    for runtime_id in recorded_sessions():
        check_bindings(runtime_id, plane.register(runtime_id))
    plane.stop()
    continued = stored_continuations(path)
    for runtime_id in recorded_sessions():
        assert continued[runtime_id] <= tool_turns(runtime_id) + kills
        assert bool(continued[runtime_id]) == bool(tool_turns(runtime_id))
    check_all_replayed(path, continuations=continued.total())
    check_all_operations_stored(path)
    idle = ToolAgent()
    with open_plane(path, idle) as restarted:
        settle(restarted)
        for runtime_id in recorded_sessions():
            check_bindings(runtime_id, restarted.register(runtime_id))
    assert (idle.counts.prompt_runs, idle.counts.continuations.total()) == (0, 0)
    check_all_replayed(path, continuations=continued.total())
    check_all_operations_stored(path)


def test_the_recordings_hold_as_many_tool_results_as_are_counted_here() -> None:
    sessions = recorded_sessions()
    assert len(sessions) == SESSION_COUNT
    assert sum(len(recorded_tool_results(each)) for each in sessions) == TOOL_RESULT_COUNT
    assert sum(tool_turns(each) for each in sessions) == TOOL_TURN_COUNT


def test_every_tool_call_of_a_stream_is_an_operation_and_the_transcripts_are_equal(
    tmp_path: Path, agent: Agent
) -> None:
    path = tmp_path / "airline.db"
    with open_plane(path, agent) as plane:
        work_off(submit(plane, recorded_inputs()))
        assert agent.counts.prompt_runs == INPUT_COUNT
        assert agent.counts.tools == TOOL_RESULT_COUNT
        check_the_end(path, plane)
    assert agent.counts.continuations == +stored_continuations(path)


def test_the_tools_of_one_run_give_one_continuation(tmp_path: Path, agent: Agent) -> None:
    """Each session's next message comes when the last one has been worked off."""
    path = tmp_path / "airline.db"
    of_session = defaultdict(list)
    for line in recorded_inputs():
        of_session[line["runtime_id"]].append(line)
    with open_plane(path, agent) as plane:
        for lines in zip_longest(*of_session.values()):
            work_off(submit(plane, filter(None, lines)))
            settle(plane)
        expected = {each: tool_turns(each) for each in of_session if tool_turns(each)}
        assert agent.counts.continuations == expected
        assert agent.counts.continuations.total() == TOOL_TURN_COUNT
        check_the_end(path, plane)


def test_stopped_in_the_middle_and_started_again_it_ends_the_same(
    tmp_path: Path, agent: Agent
) -> None:
    """The runs in hand end, their operations included; all else is left to the next start."""
    path, half = tmp_path / "airline.db", TOOL_RESULT_COUNT // 2
    held = agent.counts.hold_at_tool(half)
    with open_plane(path, agent, max_concurrent_runs=8) as plane, ThreadPoolExecutor() as threads:
        submit(plane, recorded_inputs())
        assert held.wait(WAIT_S)
        stopping = threads.submit(plane.stop)
        while not refuses(plane):
            pass
        agent.counts.release()
        stopping.result(WAIT_S)
    assert half <= agent.counts.tools < TOOL_RESULT_COUNT
    with open_plane(path, agent) as plane:
        settle(plane)
        assert agent.counts.prompt_runs == INPUT_COUNT
        assert agent.counts.tools == TOOL_RESULT_COUNT
        check_the_end(path, plane)


def refuses(plane: ControlPlane) -> bool:
    """Has the stop begun?"""
    try:
        plane.runtime_state("airline-00-0")
    except ControlPlaneStopped:
        return True
    return False


def test_a_turn_that_is_tried_again_finds_what_its_tools_have_brought(tmp_path: Path) -> None:
    path, agent = tmp_path / "airline.db", UnreliableToolAgent()
    with open_plane(path, agent) as plane:
        work_off(submit(plane, recorded_inputs()))
        assert agent.counts.prompt_runs == INPUT_COUNT + TOOL_TURN_COUNT
        assert agent.counts.tools == TOOL_RESULT_COUNT  # none was called again
        check_the_end(path, plane)


KILLS = 5


def test_killed_at_any_moment_and_run_again_no_call_is_in_a_feed_twice(tmp_path: Path) -> None:
    path, agent, chance = tmp_path / "airline.db", ToolAgent(), random.Random(0)
    command = [
        *(sys.executable, "-m", "actors.cli", "run", str(INPUTS)),
        *("--store", f"sqlite:///{path}", "--executor", "tool_agents:doomed"),
    ]
    for kill in range(KILLS):
        # The n-th tool of a process, and up to 20 ms later: in the middle of anything; the first
        # time behind more tools than there are runs at a time, so that some have ended.
        least = 1 if kill else MAX_CONCURRENT_RUNS + 1
        moment = {
            "MEERKAT_KILL_AT_TOOL": str(chance.randint(least, TOOL_RESULT_COUNT // KILLS)),
            "MEERKAT_KILL_DELAY_S": str(chance.uniform(0, 0.02)),
        }
        child = subprocess.run(
            command,
            env={**os.environ, **moment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL
    with open_plane(path, agent) as plane:
        work_off(submit(plane, recorded_inputs()))
        assert 0 < agent.counts.tools < TOOL_RESULT_COUNT  # the kills fell while there was work
        check_the_end(path, plane, kills=KILLS)
