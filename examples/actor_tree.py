"""A host with actors of its own: the sessions are one child of its tree.

A desk takes the customers' letters and hands them to the sessions. It is started after them,
and anew with them, so the supervisor it finds is always the one that runs. Then things go
wrong: a letter makes the desk call ``sys.exit()``, and the sessions' supervisor is ended. What
depends on them comes back; the archive, and the process, never notice.
"""

import sys
from queue import SimpleQueue
from typing import Any

import pykka

from actors import (
    ChildSpec,
    ControlPlane,
    Ended,
    Restarts,
    RuntimeSupervisor,
    Strategy,
    Supervisor,
    watch_actor,
)
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import MemoryStore

SESSION = "support-42"
desks: SimpleQueue[pykka.ActorRef["Desk"]] = SimpleQueue()  # each, once it is open
ends: SimpleQueue[Ended] = SimpleQueue()


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
    letters = len(context.messages) // 2 + 1
    asked = {"role": "user", "content": primitive.text}
    said = {"role": "assistant", "content": f"letter {letters}: {primitive.text}"}
    return RunOutput(append=[asked, said], result=said["content"])


class Desk(pykka.ThreadingActor):
    """The host's own: any actor of Pykka's."""

    use_daemon_thread = True

    def on_start(self) -> None:
        """Open, to the sessions that run now."""
        (supervisor,) = pykka.ActorRegistry.get_by_class(RuntimeSupervisor)
        self.plane = ControlPlane.wrap(supervisor)
        self.plane.register(SESSION)
        desks.put(self.actor_ref)

    def on_receive(self, letter: Any) -> Any:
        """Have a letter answered."""
        if letter == "?":
            sys.exit("a tool that thinks it is a program")
        answer = self.plane.submit(SESSION, PromptInput(letter)).completion
        return answer.result(timeout=60).result


class Archive(pykka.ThreadingActor):
    """Another, which has nothing to do with any of it, and is to live on."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Keep what it is told of an end."""
        if isinstance(message, Ended):
            ends.put(message)
        return "still here"


tree = Supervisor.start(
    [
        ChildSpec("archive", Archive),
        ChildSpec("meerkat", RuntimeSupervisor, kwargs={"store": MemoryStore(), "executor": agent}),
        ChildSpec("desk", Desk),
    ],
    restarts=Restarts(strategy=Strategy.REST_FOR_ONE, intensity=3, period_s=60),
)
(archive,) = pykka.ActorRegistry.get_by_class(Archive)
(supervisor,) = pykka.ActorRegistry.get_by_class(RuntimeSupervisor)
watch_actor(supervisor, archive)

desk = desks.get(timeout=10)
print(desk.ask("My bag is lost"))

desk.tell("?")  # the end of the desk alone
desk = desks.get(timeout=10)
print(desk.ask("It is red"))

supervisor.stop()  # the end of the sessions, and of the desk that goes by them
print("told:", ends.get(timeout=10).actor_ref is supervisor)
desk = desks.get(timeout=10)
print(desk.ask("It was in Oslo"))  # their store was not: the session goes on

print("the archive is", archive.ask("?"))
for child in tree.children():
    print(f"{child.id:>8}: {child.state}, {child.restarts} restarts, {child.last_reason}")
pykka.ActorRegistry.stop_all()  # the desk, the sessions, the archive; in this order
