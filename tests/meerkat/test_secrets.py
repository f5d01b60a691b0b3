"""Payloads never reach a repr or an error: ids and sizes do."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from builders import Runtime, effects_of, state_in

from meerkat import (
    EphemeralRuntimeDriver,
    External,
    ExternalEventInput,
    Flow,
    FlowStepInput,
    Input,
    InputPhase,
    OperationId,
    OperationInput,
    Peer,
    PeerInput,
    PromptInput,
    RunId,
    RunOutput,
    StoredInputState,
    System,
    from_json,
    kernel,
    to_json,
)
from meerkat.conversation import Conversation, MessageLog
from meerkat.errors import DecodeError, InputValidationFailed
from meerkat.events import ProjectionEvent
from meerkat.outcomes import completion_of

CANARY = "canary-5e1f"
SECRET: dict[str, Any] = {"text": CANARY, "deep": [{"more": CANARY}]}
INPUTS: list[Input] = [
    PromptInput(CANARY),
    PromptInput([SECRET], turn_metadata={"note": CANARY}),
    PeerInput(CANARY, payload=SECRET, source=Peer(peer_id="p")),
    FlowStepInput(
        CANARY,
        step_id="s",
        turn_metadata={"note": CANARY},
        source=Flow(flow_id="f", step_index=0),
    ),
    ExternalEventInput("mail", SECRET, source=External(source_name="m")),
    OperationInput(OperationId.new(), SECRET),
]


def quiet(*values: object) -> None:
    for value in values:
        assert CANARY not in repr(value)
        assert CANARY not in str(value)


@pytest.mark.parametrize("offered", INPUTS, ids=lambda each: type(each).__name__)
def test_nothing_made_of_an_input_shows_its_payload(offered: Input) -> None:
    runtime = Runtime()
    payload = to_json(offered)
    command = kernel.AcceptInput(offered, payload)
    transition = runtime.do(command)
    state = runtime.state(offered.id)
    quiet(offered, command, transition, transition.reply, state, StoredInputState(state=state))
    quiet(runtime.memory, runtime.memory.head, runtime.memory.ledger)
    assert str(offered.id) in repr(offered)


def test_nothing_made_of_a_run_shows_what_it_says() -> None:
    runtime = Runtime()
    (input_id,) = runtime.admit(PromptInput(CANARY, turn_metadata={"note": CANARY}))
    staged = runtime.do(kernel.StageRun(RunId.new()))
    (started,) = effects_of(staged, kernel.StartRun)
    quiet(staged, started.primitive, *started.primitive.appends, *started.primitive.inputs)
    assert CANARY in started.primitive.text
    for output in (
        RunOutput(append=[SECRET], result=SECRET),
        RunOutput(messages=[SECRET]),
        RunOutput(snapshot=CANARY.encode()),
    ):
        plan = runtime.session.plan(output)
        quiet(output, plan, plan.change, kernel.CompleteRun(started.run.run_id, plan, SECRET))
    done = runtime.complete(started.run.run_id, RunOutput(append=[SECRET], result=SECRET))
    state = runtime.state(input_id)
    ending = completion_of(state)
    assert ending is not None
    assert ending.result == SECRET
    quiet(done, done.receipt, done.session, state, ending)
    quiet(runtime.session, runtime.session.committed(), runtime.session.log)


def test_a_snapshot_and_a_projection_are_quiet() -> None:
    log = MessageLog()
    conversation = Conversation(log.snapshot)
    plan = conversation.plan(RunOutput(snapshot=CANARY.encode()))
    log.apply(plan.change)
    quiet(log.snapshot(), conversation, ProjectionEvent(SECRET))


def test_errors_about_an_input_do_not_quote_it() -> None:
    driver = EphemeralRuntimeDriver("agent-1")
    for payload in ([CANARY, float("nan")], [CANARY, object()], {"a": [CANARY, 2**64]}):
        with pytest.raises(InputValidationFailed) as refused:
            driver.accept_input(ExternalEventInput("e", payload, source=System()))
        quiet(refused.value)


@pytest.mark.parametrize(
    "document",
    [
        f'{{"input_type":"prompt","content":["{CANARY}"]}}',
        f'{{"input_type":"prompt","content":{{"x":"{CANARY}"}}}}',
        f'{{"input_type":"prompt","content":"{CANARY}","content":"{CANARY}"}}',
        f'{{"input_type":"prompt","content":"{CANARY}","turn_metadata":["{CANARY}"]}}',
        f'{{"input_type":"prompt","content":"{CANARY}" oops',
        f'{{"input_type":"prompt","content":"{CANARY}","visibility":"{CANARY}"}}',
        f'{{"input_type":"prompt","content":"{CANARY}","id":"{CANARY}"}}',
        f'{{"input_type":"prompt","content":"{CANARY}","timestamp":"{CANARY}"}}',
    ],
)
def test_errors_about_a_document_do_not_quote_its_values(document: str) -> None:
    with pytest.raises(DecodeError) as refused:
        from_json(Input, document)
    quiet(refused.value)
    assert refused.value.__cause__ is None


def test_an_error_text_may_quote_a_payload_and_is_quiet_too() -> None:
    quiet(evolve(state_in(InputPhase.QUEUED), last_error=CANARY))
