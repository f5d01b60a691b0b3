"""A plain program with threads around a control plane, which SIGTERM ends in order.

Run it, and end it with Ctrl-C or ``kill``; started again, it goes on where it was:

    python examples/threaded_service.py sessions.db
"""

from __future__ import annotations

import sys
import threading

from actors import ControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.errors import ControlPlaneStopped
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

CUSTOMERS = ("anna", "ben", "carla")


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
    reply = f"Noted, after {len(context.messages)} messages: {primitive.text}"
    said = {"role": "user", "content": primitive.text}
    return RunOutput(append=[said, {"role": "assistant", "content": reply}], result=reply)


def customer(plane: ControlPlane, name: str) -> None:
    """One customer, who writes again as soon as there is an answer, until the plane stops."""
    number = 0
    try:
        while True:
            number += 1
            submitted = plane.submit(name, PromptInput(f"{name} writes for the {number}. time"))
            submitted.accepted.result()
            if number == 1:
                print(f"{name} is served\n", end="", flush=True)
            outcome = submitted.completion.result()
            if outcome.kind is CompletionKind.RUNTIME_TERMINATED:
                return  # accepted, and worked at the next start
    except ControlPlaneStopped:
        return


def serve(plane: ControlPlane) -> None:
    """Serve until an exception ends it: KeyboardInterrupt, or SystemExit for SIGTERM."""
    with plane:
        plane.register_many(CUSTOMERS)
        threads = [threading.Thread(target=customer, args=(plane, name)) for name in CUSTOMERS]
        for thread in threads:
            thread.start()
        for thread in threads:
            # A join without end is not woken by a signal that came just before it.
            while thread.is_alive():
                thread.join(timeout=1.0)


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else "sessions.db"
    plane = ControlPlane(SqliteStore(path), agent)
    try:
        serve(plane)
    finally:
        print(plane.stop(), flush=True)  # it has stopped: this is what it said then


if __name__ == "__main__":
    main()
