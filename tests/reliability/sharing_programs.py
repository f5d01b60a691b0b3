"""Sharing programs: what the processes of test 14 do, several over one PostgreSQL."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from actors import ControlPlane
from actors.door import Submission
from meerkat import (
    Accepted,
    AcceptOutcome,
    Deduplicated,
    Input,
    InputId,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
    from_json,
)
from meerkat.errors import OwnedElsewhere, RuntimeNotFound
from meerkat.json_values import dump
from meerkat.limits import Backoff, Limits
from meerkat.store import PostgresStore
from meerkat.store.sharing import Sharing
from meerkat.testing.processes import Told

SESSIONS = Path(__file__).resolve().parents[1] / "sessions"
if str(SESSIONS) not in sys.path:
    sys.path.insert(0, str(SESSIONS))

import airline  # noqa: E402 - it lies beside the tests of the sessions

LIMITS = Limits(crash_attempts_max=1_000_000)
WAIT_S = 60.0
RUN_S = 0.1
"""How long a run takes: a process that is killed has some in hand."""

LOOK_AGAIN_S = 0.01

STOPPED, GO_ON, RENEW = "stopped", "go-on", "renew"
"""Files of a folder: it is there once the process was stopped; pipes that are read when it may
go on with its run, and with its lease."""


# --- the recorded sessions --------------------------------------------------------------


def replay(
    told: Told,
    place: tuple[str, str],
    name: str,
    lease_s: float,
    halves: tuple[list[str], list[str]],
) -> None:
    """Take up the first half of the sessions, and offer the inputs of the second.

    The other process does it the other way round. Whoever lived before may have offered some:
    their keys are known then.
    """

    def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
        _called(told, context, primitive)
        context.wait(RUN_S)
        output: RunOutput = airline.replay(context, primitive)
        return output

    (url, schema), (mine, offers) = place, halves
    sharing = Sharing(name=name, lease_s=lease_s)
    plane = ControlPlane(
        PostgresStore(url, schema=schema, sharing=sharing),
        agent,
        limits=LIMITS,
        max_concurrent_runs=8,
        backoff=Backoff(base_s=0.001),
    )
    with plane:
        plane.register_many(mine, timeout=WAIT_S)
        sent = [
            (line["runtime_id"], _offered(told, plane, line))
            for line in airline.recorded_inputs()
            if line["runtime_id"] in offers
        ]
        for runtime_id, submission in sent:
            _hear_out(told, runtime_id, submission)
        told.say("heard", name)
        threading.Event().wait()  # others may leave something to it, until it is killed


def _offered(told: Told, plane: ControlPlane, line: dict[str, object]) -> Submission:
    """Offer a line until it is taken in; each session's lines one after the other."""
    runtime_id, offered = str(line["runtime_id"]), from_json(Input, dump(line["input"]))
    while True:
        submission = plane.submit(runtime_id, offered)
        try:
            outcome = submission.accepted.result(WAIT_S)
        except RuntimeNotFound:  # the other process has not registered it yet
            threading.Event().wait(LOOK_AGAIN_S)
            continue
        told.accepted(runtime_id, _known(outcome))
        return submission


def _hear_out(told: Told, runtime_id: str, submission: Submission) -> None:
    outcome, ended = submission.accepted.result(0), submission.completion.result(WAIT_S)
    told.resolved(runtime_id, _known(outcome), ended)


def _known(outcome: AcceptOutcome) -> InputId:
    assert isinstance(outcome, Accepted | Deduplicated)
    return outcome.input_id if isinstance(outcome, Accepted) else outcome.existing_id


def _called(told: Told, context: RunContext, primitive: StagedInput) -> None:
    """Say it with the time: what two processes say is put in order by that."""
    ids = [str(each) for each in primitive.contributing_input_ids]
    told.say("called", str(context.runtime_id), str(context.run_id), ids, time.monotonic())


# --- one that is stopped ----------------------------------------------------------------


class SlowToRenew(PostgresStore):
    """A store whose first call after it was stopped is a commit: its lease is renewed later."""

    folder: Path

    def renew(self) -> bool:
        if (self.folder / STOPPED).exists():
            (self.folder / STOPPED).unlink()
            (self.folder / RENEW).read_bytes()
        return super().renew()


def be_stopped(told: Told, url: str, folder: Path, lease_s: float, of: Sequence[str]) -> None:
    """Begin a run of each session, be stopped in it, and say what became of everything."""
    gate = threading.Event()

    def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
        _called(told, context, primitive)
        told.say("began", str(context.runtime_id))
        gate.wait(WAIT_S)
        return RunOutput(append=[{"by": "P"}], result="P")

    store = SlowToRenew(url, schema=folder.name, sharing=Sharing(name="P", lease_s=lease_s))
    store.folder = folder
    with ControlPlane(store, agent, limits=LIMITS) as plane:
        plane.register_many(of, timeout=WAIT_S)
        watches = [plane.watch(each, timeout=WAIT_S) for each in of]
        sent = [plane.submit(each, PromptInput("work", idempotency_key=each)) for each in of]
        for each, submission in zip(of, sent, strict=True):
            told.accepted(each, _known(submission.accepted.result(WAIT_S)))
        (folder / GO_ON).read_bytes()
        gate.set()
        notices = [watch.next_within(WAIT_S) for watch in watches]
        told.say("notices", [None if each is None else each.reason for each in notices])
        figures = plane.figures()
        told.say("figures", figures.taken_over, figures.commit_errors)
        (folder / RENEW).write_bytes(b"")  # from now on it renews
        for each, submission in zip(of, sent, strict=True):
            ended = submission.completion.result(WAIT_S)
            told.resolved(each, _known(submission.accepted.result(0)), ended)
            told.say("ended", ended.result)
        try:
            plane.retire(of[0], timeout=WAIT_S)
        except OwnedElsewhere as error:
            told.say("refused", error.code, error.owner)


def take_over(told: Told, url: str, folder: Path, lease_s: float) -> None:
    """Work whatever is nobody's, until it is killed."""

    def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
        _called(told, context, primitive)
        told.say("worked", str(context.runtime_id), context.attempt)
        return RunOutput(append=[{"by": "Q"}], result="Q")

    store = PostgresStore(url, schema=folder.name, sharing=Sharing(name="Q", lease_s=lease_s))
    with ControlPlane(store, agent, limits=LIMITS):
        told.say("ready")
        threading.Event().wait()
