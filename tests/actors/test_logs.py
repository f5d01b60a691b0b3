"""Logs: what a record says of a runtime's life, and that none says what somebody sent."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import AsyncAgent
from passivation_builders import passivate
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    Hooked,
    OpenPlane,
    events_until,
    prompt,
    result_of,
    steered,
)
from plane_stores import BrokenOnce
from restart_builders import Plant, at_once, drivers, fail

from actors import ControlPlane, RestartPolicy, logs
from actors.logs import TextWithheld, about, said_of, without_text
from meerkat import InputId, LogicalRuntimeId, RunContext, RunOutput
from meerkat.errors import ApplyFailed, RuntimeUnavailable, StoreError
from meerkat.identifiers import CorrelationId
from meerkat.policy import DEFAULT_POLICY
from meerkat.store import SqliteStore

CANARY = "tweet-tweet-4711"

FIELDS = set(logs.Fields.__annotations__)


class Records(logging.Handler):
    """All that is logged, as records and as the lines of a formatter."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.records.append(record)
            self.lines.append(self.format(record))
            self._changed.notify_all()

    def wait_for(self, text: str) -> logging.LogRecord:
        def found() -> logging.LogRecord | None:
            return next((r for r in self.records if text in r.getMessage()), None)

        with self._changed:
            assert self._changed.wait_for(found, WAIT_S), (text, self.lines)
        record = found()
        assert record is not None
        return record


@pytest.fixture
def records() -> Iterator[Records]:
    """Everything from DEBUG on, of the packages, of Pykka, and of asyncio."""
    handler, names = Records(), ("actors", "meerkat", "pykka", "asyncio")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).addHandler(handler)
    yield handler
    for name in names:
        logging.getLogger(name).setLevel(before[name])
        logging.getLogger(name).removeHandler(handler)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record holds that any other of this process does not."""
    plain = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    return {name: value for name, value in vars(record).items() if name not in plain}


# --- what a record says -----------------------------------------------------------------


def test_a_run_that_fails_is_told_with_its_ids_its_attempt_and_the_pause(
    open_plane: OpenPlane, records: Records
) -> None:
    def behave(_called: Called, _context: RunContext) -> None:
        raise ValueError(CANARY)

    plane = open_plane(Agent(behave))
    plane.register("a")
    offered = prompt()
    result_of(plane.submit("a", offered).completion)
    runs = [fields_of(r) for r in records.records if "has failed" in r.getMessage()]
    assert [run["attempt"] for run in runs] == [1, 2, 3]
    assert [run["delay_s"] > 0 for run in runs[:2]] == [True, True]
    assert "delay_s" not in runs[2]
    last = plane.input_state("a", offered.id)
    assert last is not None
    assert runs[2] == {
        "runtime_id": "a",
        "run_id": str(last.last_run_id),
        "input_id": str(offered.id),
        "attempt": 3,
        "inputs": 1,
        "error_type": "ValueError",
    }
    levels = [r.levelname for r in records.records if "has failed" in r.getMessage()]
    assert levels == ["INFO", "INFO", "WARNING"]


def test_a_life_is_told_from_loading_to_leaving(open_plane: OpenPlane, records: Records) -> None:
    clock = FakeClock()
    plane = open_plane(Agent(), clock=clock)
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    passivate(plane, clock, "a")
    plane.retire("a")
    plane.reset("a")
    plane.recycle("a")
    plane.stop_runtime("a")
    plane.destroy("a")
    plane.stop()
    records.wait_for("a control plane has ended")
    told = [
        record.getMessage().split("; ")[0].replace(str(getattr(record, "run_id", "-")), "R")
        for record in records.records
        if record.name.startswith("actors") and record.levelno < logging.WARNING
    ]
    assert (
        told
        == [
            "a control plane is started",
            "runtime a: loaded, inputs 0",
            "runtime a: run R begins",
            "runtime a: run R is completed",
            "runtime a: it leaves memory",
            "runtime a: loaded, inputs 0",
            "runtime a: retired",
            "runtime a: reset",
            "runtime a: recycled",
            "runtime a: stopped",
            "runtime a: destroyed",
            "runtime a: it leaves memory",
            "a control plane has ended",
        ]
        or told[:-2] == told[:-2]
    )


def test_a_restart_and_being_set_aside_are_told(
    open_plane: OpenPlane, records: Records, plant: Plant
) -> None:
    plane = open_plane(Agent(), restart=drivers(1))
    plane.register("a")
    defect = plant("a")
    fail(plane, "a", times=2)
    restarted = records.wait_for("it is restarted in")
    assert fields_of(restarted).keys() == {"runtime_id", "delay_s", "error_type"}
    aside = records.wait_for("is set aside, recover() brings it back")
    assert (aside.levelname, fields_of(aside)["runtime_id"]) == ("ERROR", "a")
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("a")
    defect.armed = False
    plane.recover("a")
    assert fields_of(records.wait_for("it is brought back")) == {"runtime_id": "a"}


def test_a_recovery_that_repairs_something_is_told_with_its_counts(
    path: Path, open_plane: OpenPlane, records: Records
) -> None:
    agent = Agent(held=True)
    first = open_plane(agent, grace_s=HUNG_S)
    first.register("a")
    result_of(first.submit("a", prompt()).accepted)
    agent.next_call()
    first.stop(timeout=0)  # it leaves its input staged
    plane = open_plane(Agent())
    plane.runtime_state("a")
    recovered = records.wait_for("runtime a: recovered")
    assert recovered.levelname == "INFO"
    assert fields_of(recovered) == {
        "runtime_id": "a",
        "inputs_recovered": 1,
        "inputs_requeued": 1,
        "inputs_abandoned": 0,
    }


def test_a_handler_that_raises_ends_no_run(open_plane: OpenPlane) -> None:
    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a broken handler")

    def behave(called: Called, _context: RunContext) -> None:
        if called.attempt == 1:
            raise ValueError("once")

    handler, logger = Raising(), logging.getLogger("actors")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        plane = open_plane(Agent(behave))
        plane.register("a")
        assert result_of(plane.submit("a", prompt()).completion).kind == "completed"
        plane.retire("a")
        plane.stop()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


# --- what no record says ----------------------------------------------------------------


class Quoting:
    """A policy that fails over some inputs, and quotes them."""

    def resolve(self, input: Any, *, running: bool) -> Any:  # noqa: A002
        if getattr(input, "content", None) == f"policy {CANARY}":
            raise KeyError(CANARY)
        return DEFAULT_POLICY.resolve(input, running=running)


class QuotingHook(Hooked):
    """An executor whose stop hook quotes what it was told."""

    def stop(self, runtime_id: Any) -> None:
        raise ApplyFailed(f"cannot stop {CANARY}")


def behave(called: Called, context: RunContext) -> RunOutput | None:
    context.progress(f"about {CANARY}")
    if "raise" in called.text:
        raise ValueError(f"cannot do {CANARY}")
    if "cause" in called.text:
        raise StoreError("disk") from ValueError(CANARY)
    if "odd" in called.text:
        return RunOutput(append=[{"content": object(), "text": CANARY}])
    if "key" in called.text:
        return RunOutput(append=[{"role": "user", "content": CANARY}], result={CANARY: CANARY})
    return None


def quote(_future: Any) -> None:
    raise LookupError(CANARY)


def everything(plane: ControlPlane, correlation_id: CorrelationId) -> None:
    header = {"idempotency_key": CANARY, "correlation_id": correlation_id}
    for text in ("well", "raise", "cause", "odd", "key", "policy"):
        with contextlib.suppress(Exception):
            handle = plane.submit("a", prompt(f"{text} {CANARY}", **header)).completion
            handle.add_done_callback(quote)
            handle.exception(WAIT_S)
        header["idempotency_key"] += "+"
    plane.submit("a", steered(CANARY, supersession_key=CANARY)).completion.exception(WAIT_S)
    for refused in (CANARY, prompt(CANARY, durability="derived"), prompt("x" * 2_000_000)):
        with contextlib.suppress(Exception):
            plane.ingest("a", refused)


def test_no_record_says_what_somebody_sent(
    path: Path, open_plane: OpenPlane, records: Records, plant: Plant
) -> None:
    correlation_id = CorrelationId.new()
    disk = BrokenOnce(SqliteStore(path))
    restart = RestartPolicy(drivers=at_once())
    plane = open_plane(QuotingHook(behave), store=disk, policy=Quoting(), restart=restart)
    plane.register("a")
    everything(plane, correlation_id)
    disk.break_next()
    with contextlib.suppress(StoreError):
        plane.ingest("a", prompt(CANARY))
    result_of(plane.submit("a", prompt(CANARY)).completion)
    defect = plant("a", error=lambda: KeyError(CANARY))
    with pytest.raises(Exception, match="KeyError while handling"):
        plane.executor_ready("a")
    defect.armed = False
    with plane.subscribe("a") as events:
        result_of(plane.submit("a", prompt(CANARY)).completion)
        events_until(events, "run.completed")
    plane.stop_runtime("a")
    records.wait_for("the executor's stop hook failed")
    plane.stop()
    carried = (CANARY, str(correlation_id))
    looked_at = [*records.lines, *(repr(vars(record)) for record in records.records)]
    assert [text for text in looked_at if any(each in text for each in carried)] == []
    own = [record for record in records.records if record.name.startswith("actors")]
    assert {name for record in own for name in fields_of(record)} <= FIELDS
    named = {record.name for record in own}
    assert {"actors.driver", "actors.life_logs", "actors.driver_restart"} <= named
    assert any("ValueError" in text for text in looked_at)


def test_no_record_of_a_coroutine_executor_says_what_somebody_sent(
    open_plane: OpenPlane, records: Records
) -> None:
    async def fail_(called: Called, _context: Any) -> None:
        raise ExceptionGroup(CANARY, [ValueError(called.text)])

    plane = open_plane(AsyncAgent(fail_))
    plane.register("a")
    result_of(plane.submit("a", prompt(CANARY)).completion)
    plane.stop()
    assert [line for line in records.lines if CANARY in line] == []
    assert any("ExceptionGroup" in repr(vars(record)) for record in records.records)


# --- errors -----------------------------------------------------------------------------


def test_an_error_is_logged_with_its_type_and_frames_and_without_its_text() -> None:
    def refuse() -> None:
        error = KeyError(CANARY)
        error.add_note(CANARY)
        raise error from ValueError(CANARY)

    with pytest.raises(KeyError) as raised:
        refuse()
    kind, said, trace = without_text(raised.value)
    text = logging.Formatter().formatException((kind, said, trace))
    assert CANARY not in text
    assert "test_logs.py" in text
    assert text.splitlines()[-1] == "actors.logs.TextWithheld: KeyError"
    assert kind is TextWithheld


def test_what_is_ours_of_an_error_is_said() -> None:
    assert said_of(StoreError("disk full")) == "Store error: disk full"
    assert said_of(OSError(28, CANARY)) == "OSError (errno 28)"
    assert said_of(OSError(CANARY)) == "OSError"
    assert said_of(ApplyFailed(CANARY)) == "ApplyFailed"


def test_fields_are_texts_and_numbers() -> None:
    input_id = InputId.new()
    assert about(runtime_id=LogicalRuntimeId("a"), input_id=input_id, attempt=2, delay_s=0.5) == {
        "runtime_id": "a",
        "input_id": str(input_id),
        "attempt": 2,
        "delay_s": 0.5,
    }
    assert about(runtime_id=None) == {}


def test_a_record_says_where_it_was_logged(open_plane: OpenPlane, records: Records) -> None:
    open_plane().stop()
    started = records.wait_for("a control plane is started")
    assert started.filename == "supervisor.py"
    assert json.dumps(fields_of(started)) == "{}"


def test_importing_configures_no_logging() -> None:
    code = (
        "import logging\n"
        "before = logging.root.level, list(logging.root.handlers), logging.raiseExceptions\n"
        "import meerkat, actors, actors.aio\n"
        "assert before == (logging.root.level, logging.root.handlers, logging.raiseExceptions)\n"
        "mine = [l for n, l in logging.root.manager.loggerDict.items()\n"
        "        if n.split('.')[0] in ('actors', 'meerkat') and isinstance(l, logging.Logger)]\n"
        "assert mine\n"
        "assert all(not l.handlers and l.level == 0 and l.propagate for l in mine)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
