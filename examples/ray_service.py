"""A program on a Ray cluster, or on this machine where there is none, which SIGTERM ends in order.

The shards that work its sessions may be killed at any moment, and the program may, too: started
again, it goes on where it was. The database is the first argument:

    python examples/ray_service.py postgresql://agent@db.example/sessions
"""

from __future__ import annotations

import sys
import threading

import ray

from actors.ray import RayControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.errors import ControlPlaneStopped
from meerkat.outcomes import CompletionKind

CUSTOMERS = ("anna", "ben", "carla", "dora")


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
    reply = f"Noted, after {len(context.messages)} messages: {primitive.text}"
    said = {"role": "user", "content": primitive.text}
    return RunOutput(append=[said, {"role": "assistant", "content": reply}], result=reply)


def customer(plane: RayControlPlane, name: str) -> None:
    """One customer, who writes again as soon as there is an answer, until the plane stops."""
    number = 0
    try:
        while True:
            number += 1
            submitted = plane.submit(name, PromptInput(f"{name} writes for the {number}. time"))
            outcome = submitted.completion.result()
            if outcome.kind is CompletionKind.RUNTIME_TERMINATED:
                return  # accepted, and worked at the next start
            if number == 1:
                print(f"{name} is served\n", end="", flush=True)
    except ControlPlaneStopped:
        return


def main() -> None:
    ray.init(include_dashboard=False, log_to_driver=False)  # or the address of your cluster
    plane = RayControlPlane(sys.argv[1], agent, shards=2)
    try:
        with plane:
            plane.register_many(CUSTOMERS)
            threads = [threading.Thread(target=customer, args=(plane, each)) for each in CUSTOMERS]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(timeout=1.0)
    finally:
        print(plane.stop(), flush=True)  # it has stopped: this is what it said then


if __name__ == "__main__":
    main()
