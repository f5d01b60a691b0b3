"""The canary: what a host hands over for carrying is never logged, and in no repr."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    Agent,
    Called,
    OpenPlane,
    error_of,
    event,
    events_until,
    logged,
    operation,
    prompt,
    result_of,
    steered,
)
from plane_stores import StoreProxy

from actors import driver as driver_module
from actors.driver import DriverActor
from actors.run_places import RunThreads
from actors.ticket import Ticket
from meerkat import Flow, FlowStepInput, RunContext, RunOutput, RuntimeEventEnvelope
from meerkat.errors import ApplyFailed, StoreError
from meerkat.events import ProjectionEvent
from meerkat.store import Batch, SqliteStore

CANARY = "tweet-tweet-4711"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The repr of every message, ticket, step, batch and run that passes."""
    found: list[str] = []
    on_receive, send, start = DriverActor.on_receive, DriverActor.send, RunThreads.start

    def receive(self: DriverActor, message: Any) -> None:
        found.extend([repr(message), str(message)])
        on_receive(self, message)

    def sent(self: DriverActor, ticket: Ticket, batch: Batch) -> None:
        found.extend([repr(ticket), repr(ticket.steps), repr(ticket.commit), repr(self)])
        send(self, ticket, batch)

    def started(self: RunThreads, task: Any, lost: Any = None) -> None:
        found.extend([repr(task), repr(getattr(task, "__self__", None))])
        start(self, task, lost)

    monkeypatch.setattr(DriverActor, "on_receive", receive)
    monkeypatch.setattr(DriverActor, "send", sent)
    monkeypatch.setattr(RunThreads, "start", started)
    assert driver_module.logger.name == "actors.driver"
    return found


class Watched(StoreProxy):
    """A store that fails now and then, and keeps the repr of every batch."""

    def __init__(self, inner: Any, found: list[str]) -> None:
        super().__init__(inner)
        self.found = found
        self.broken = False

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        self.found.append(repr(batches))
        if self.broken:
            self.broken = False
            raise RuntimeError("binding")
        return super().commit_many(batches)


def behave(called: Called, context: RunContext) -> RunOutput | None:
    context.progress(f"about {CANARY}")
    if called.attempt == 1 and "fail" in called.text:
        raise ApplyFailed(f"cannot do {CANARY}")
    if "odd" in called.text:
        return RunOutput(append=[{"content": object(), "text": CANARY}])
    if "raise" in called.text:
        raise ValueError(called.text)
    if "opaque" in called.text:
        return RunOutput(snapshot=CANARY.encode(), result={CANARY: CANARY})
    return None


def inputs() -> list[Any]:
    metadata = {"model": CANARY, "tags": [CANARY]}
    flow = Flow(flow_id="f", step_index=0)
    return [
        prompt(CANARY, turn_metadata=metadata),
        prompt(f"fail {CANARY}"),
        prompt(f"opaque {CANARY}"),
        prompt(f"raise {CANARY}"),
        prompt(f"odd {CANARY}"),
        prompt([{"type": "text", "text": CANARY}]),
        steered(CANARY),
        event({CANARY: CANARY}),
        FlowStepInput(CANARY, step_id="s1", source=flow),
        operation(),
        prompt(CANARY, durability="derived"),
        prompt(CANARY, durability="ephemeral"),
    ]


def test_what_is_carried_is_never_shown(
    open_plane: OpenPlane,
    path: Path,
    seen: list[str],
    caplog: pytest.LogCaptureFixture,
    figure: Callable[[str], None],
) -> None:
    for name in ("", "pykka", "actors", "meerkat"):
        caplog.set_level(logging.DEBUG, logger=name)
    store, agent = Watched(SqliteStore(path), seen), Agent(behave)
    plane = open_plane(agent, store=store)
    plane.register("a")
    with plane.subscribe("a") as events, plane.subscribe():
        for offered in inputs():
            submission = plane.submit("a", offered)
            outcome = result_of(submission.accepted)
            seen.extend(map(repr, (offered, submission, outcome)))
            if not outcome.is_rejected:
                ended = result_of(submission.completion)
                state = plane.input_state("a", outcome.input_id)
                seen.extend([repr(ended), repr(state), repr(submission.completion)])
        store.broken = True
        lost = plane.submit("a", prompt(CANARY))
        seen.extend([repr(error_of(lost.accepted)), str(error_of(lost.accepted))])
        envelope = RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent({"x": CANARY}))
        plane.publish_event(envelope)
        seen.extend(map(repr, events_until(events, "runtime.projection_emitted")))
    agent.hold()
    with plane.subscribe("a") as events:
        plane.submit("a", prompt(CANARY))
        events_until(events, "run.started")
    plane.stop_runtime("a")
    with logged("late result refused") as refused:
        agent.release()
        assert refused.wait(10.0)
    for refuse in (lambda: plane.ingest("a", prompt(CANARY)), lambda: plane.ingest("a", CANARY)):
        with pytest.raises(Exception) as refused_error:
            refuse()
        seen.extend([repr(refused_error.value), str(refused_error.value)])
    plane.stop()
    seen += [record.getMessage() for record in caplog.records]
    shown = [text for text in (*seen, caplog.text) if CANARY in text]
    figure(
        f"secrets in logs: texts looked at {len(seen)}; "
        f"log lines among them {len(caplog.records)}; canaries found {len(shown)}"
    )
    assert shown == []
    assert len(seen) > 100
    assert "pykka" in {record.name for record in caplog.records}
