"""An agent that works in the background, listens while it runs, and can be interrupted.

A customer asks for a lost bag. The agent starts a search that outlives the run, and takes in
what the customer adds meanwhile. When the search has ended, the session goes on by itself.
At last the customer interrupts an answer that is too long. Nothing here is polled.
"""

from queue import SimpleQueue
from threading import Thread

from actors import ControlPlane
from meerkat import (
    ExecutionKind,
    OperationId,
    OperationKind,
    OpsLifecycleRegistry,
    PromptInput,
    RunContext,
    RunOutput,
    RuntimeEventEnvelope,
    StagedInput,
    WakeReason,
)
from meerkat.events import EventCode
from meerkat.operations import OperationCompleted
from meerkat.store import MemoryStore

SESSION = "support-42"
details: SimpleQueue[str] = SimpleQueue()  # from the agent to its search


def said(role: str, text: str) -> dict[str, str]:
    print(f"{role:>9}: {text}")
    return {"role": role, "content": text}


# --- the agent: what your model and your tools would do ---------------------------------


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
    if primitive.execution_kind is ExecutionKind.RESUME_PENDING:
        return report(context)
    if primitive.text.startswith("Tell me all"):
        return talk_for_long(context, primitive)
    return start_search(context, primitive)


def start_search(context: RunContext, primitive: StagedInput) -> RunOutput:
    """Start the tool, then listen for a while: a boundary saves what was added so far."""
    operations, search = context.bindings.ops_lifecycle, OperationId.new()
    kind = OperationKind.BACKGROUND_TOOL_OP
    operations.register(search, kind=kind, display_name="search_for_bag")
    operations.provisioning_succeeded(search)
    Thread(target=search_for_bag, args=(operations, search), daemon=True).start()

    asked = [said("user", primitive.text), said("assistant", "I am searching. What is it like?")]
    if context.wait(seconds=10) is WakeReason.STEERED:
        added = context.boundary()
        asked += [said("user", text) for text in added.texts]
        added.commit(append=asked)  # durable now, whatever becomes of this run
        details.put(" ".join(added.texts))
        asked = []
    return RunOutput(append=[*asked, said("assistant", "I will come back to you.")])


def search_for_bag(operations: OpsLifecycleRegistry, search: OperationId) -> None:
    """The tool, on a thread of its own. Its end is on disk before anybody is told."""
    description = details.get()
    operations.complete(search, {"where": "Oslo", "bag": description})


def report(context: RunContext) -> RunOutput:
    """A run that nobody asked for: something in the background has ended."""
    bindings = context.bindings
    batch = bindings.ops_lifecycle.list_since(bindings.cursor_state.agent_applied_cursor)
    found = [
        said("assistant", f"Your bag was found: {entry.outcome.result}")
        for entry in batch.entries
        if isinstance(entry.outcome, OperationCompleted)
    ]
    bindings.cursor_state.advance_agent_applied_cursor(batch.watermark)
    return RunOutput(append=found)


def talk_for_long(context: RunContext, primitive: StagedInput) -> RunOutput:
    """Look up between two paragraphs: an interrupt ends it there."""
    spoken = [said("user", primitive.text)]
    for paragraph in range(1, 1_000):
        spoken.append(said("assistant", f"Rule {paragraph} of 999 …"))
        context.progress(f"rule {paragraph}")
        context.wait(seconds=10)
        context.raise_if_cancelled()
    return RunOutput(append=spoken)


# --- the customer: a second thread, which writes while the agent runs -------------------


def customer(plane: ControlPlane) -> None:
    events = plane.subscribe(SESSION, after=0)

    def until(code: EventCode) -> None:
        """Read on to the next event of this kind."""
        for each in events:
            if isinstance(each, RuntimeEventEnvelope) and each.event.code is code:
                return

    plane.ingest(SESSION, PromptInput("My bag is lost"))
    until(EventCode.OPERATION_STARTED)
    plane.ingest(SESSION, PromptInput("Red.", turn_metadata={"handling_mode": "steer"}))
    until(EventCode.RUN_COMPLETED)  # of the answer
    until(EventCode.RUN_COMPLETED)  # of the report: the session went on by itself

    talk = plane.submit(SESSION, PromptInput("Tell me all your baggage rules"))
    until(EventCode.RUN_PROGRESS)
    plane.interrupt(SESSION, "now")
    print(f"the last answer was {talk.completion.result(timeout=10).kind}")


with ControlPlane(store=MemoryStore(), executor=agent) as plane:
    plane.register(SESSION)
    thread = Thread(target=customer, args=(plane,))
    thread.start()
    thread.join()
