"""The example of the README: one session, one input, one answer, all of it durable.

Run it twice: the second time the input is known by its key, so it is not run again.
"""

from actors import ControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import SqliteStore


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
    reply = f"Noted, after {len(context.messages)} messages: {primitive.text}"
    said = {"role": "user", "content": primitive.text}
    answer = {"role": "assistant", "content": reply}
    return RunOutput(append=[said, answer], result=reply)


with ControlPlane(store=SqliteStore("sessions.db"), executor=agent) as plane:
    plane.register("support-42")
    outcome = plane.ingest("support-42", PromptInput("My bag is lost", idempotency_key="msg-1"))
    print(plane.completion("support-42", outcome).result(timeout=60).result)
