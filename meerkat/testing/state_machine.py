"""State machine: any steps at all, of a runtime and of its model, and what must be so after each.

Hypothesis draws the steps, and makes a failing sequence short. A host plugs in its own store,
executor or policy, and adds rules and invariants of its own in a subclass::

    class MyMachine(RuntimeStateMachine):
        def make_executor(self):
            return MyExecutor()

    TestMyMachine = MyMachine.TestCase
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meerkat.conversation import decoded
from meerkat.errors import ApplyFailed, ExecutorStopped, RunCancelled
from meerkat.identifiers import InputId, as_runtime_id
from meerkat.inputs import Input, PromptInput
from meerkat.limits import Limits
from meerkat.policy import PolicyTable
from meerkat.runs import RunOutput
from meerkat.store.memory import MemoryStore
from meerkat.store.protocol import RuntimeStore
from meerkat.testing.comparison import compare
from meerkat.testing.faulty_store import When
from meerkat.testing.following import Following
from meerkat.testing.machine_inputs import OFFERS, STEERED, Offer
from meerkat.testing.model import RuntimeModel
from meerkat.testing.subject import Subject

LIMITS: Final = Limits(max_attempts=2, crash_attempts_max=4, pending_inputs_max=8)
"""Small, so that a few steps reach them."""

_CONTROLS: Final = (
    "attach_executor",
    "attach_executor",
    "detach_executor",
    "recycle",
    "recover",
    "register",
    "pause",
    "hush",
    "speak",
    "look",
)
_ENDINGS: Final = ("retire", "stop_runtime", "reset", "destroy", "unregister")


def _offers(among: tuple[Offer, ...], *, most: int) -> st.SearchStrategy[list[Offer]]:
    return st.lists(st.sampled_from(among), min_size=1, max_size=most)


def _raising(error: Exception) -> Any:
    def instruction(_context: object) -> None:
        raise error

    return instruction


class RuntimeStateMachine(RuleBasedStateMachine):
    """A runtime of a control plane in a simulation, against a model of it.

    Each step is one call of the host's, one thing an executor does, a crash, a jump of the
    clock, or a fault of the store. After each the plane's answer and everything that can be
    seen must be what the model says, and every invariant must hold; AssertionError says what
    was expected and what was found, and Hypothesis prints the steps that lead there.

    Without :meth:`make_executor` the runs are puppets, whose every move is a step. With one
    the host's own executor runs as it likes, and the model follows what it did.
    """

    limits: Limits = LIMITS
    policy: PolicyTable | None = None
    """A host's own; None for the default."""

    def make_store(self) -> RuntimeStore:
        """The store of an example, fresh. Crashes close it, and open it again."""
        return MemoryStore()

    make_executor: Any = None
    """Gives the executor of a process, fresh: a crash has the next process make its own."""

    may_raise: tuple[type[BaseException], ...] = (Exception,)
    """What the executor may fail with. Anything is a failed attempt, as it is everywhere, and
    no failure of the test; with fewer of them whatever else it raises is one."""

    @initialize()
    def open(self) -> None:
        """Begin with a runtime that is registered, and has nothing to do."""
        self.subject = Subject(
            self.make_store(), self.make_executor, limits=self.limits, policy=self.policy
        )
        self.store = self.subject.store
        self.plane = self.subject.plane
        self.model = RuntimeModel(
            policy=self.policy,
            max_attempts=self.limits.max_attempts,
            crash_attempts_max=self.limits.crash_attempts_max,
            pending_inputs_max=self.limits.pending_inputs_max,
        )
        self.following = Following(self.model, self.may_raise)
        self.seen: Any = None

    def messages(self) -> list[dict[str, Any]]:
        """The committed conversation: for invariants of one's own."""
        if not hasattr(self, "subject"):
            return []
        committed = self.store.load_session_snapshot(as_runtime_id(self.subject.runtime_id))
        return [] if committed is None else decoded(committed)

    def proven(self) -> list[str]:
        """The inputs that runs have used up and have receipts for, in that order."""
        if not hasattr(self, "subject"):
            return []
        self.follow()
        return [each for proof in self.model.receipts for each in proof.inputs]

    def teardown(self) -> None:
        """End the example's simulation."""
        if hasattr(self, "subject"):
            self.subject.close()

    # --- what the host does -------------------------------------------------------------

    @rule(offers=_offers(OFFERS, most=4))
    def offer(self, offers: list[Offer]) -> None:
        """Offer a few inputs, one after the other."""
        for each in offers:
            self.accept(each.make())

    @rule(offers=_offers(STEERED, most=3))
    @precondition(lambda self: self.model.run is not None)
    def steer(self, offers: list[Offer]) -> None:
        """Offer a few inputs that the run in hand may take in."""
        self.offer(offers)

    @rule(again=st.integers(0, 7))
    @precondition(lambda self: self.model.inputs)
    def offer_again(self, again: int) -> None:
        """Offer an id that is known already, with something else in it."""
        known = list(self.model.inputs)
        self.accept(PromptInput("again", id=InputId.parse(known[again % len(known)])))

    def accept(self, offered: Input) -> None:
        """Offer an input to both; for rules of one's own too."""
        expected = self.model.accept(offered)
        self.same("the answer", expected, self.subject.offer(offered))
        self.follow()

    @rule(call=st.sampled_from(_CONTROLS))
    def control(self, call: str) -> None:
        """Make a control call that takes no work away."""
        if call == "look" and self.model.registered:
            self.same("what is active", [k.id for k in self.model.active()], self.subject.active())
            self.same("the state", self.model.state, self.subject.state())
        elif call in ("hush", "speak"):
            intents = frozenset({"hush"}) if call == "hush" else frozenset()
            expected = self.model.set_silent_intents(intents)
            self.same("the answer", expected, self.subject.control("set_silent_intents", intents))
        elif call != "look":
            self.take_control(call)

    @rule(call=st.sampled_from(_ENDINGS), hesitation=st.integers(1, 6))
    def end(self, call: str, hesitation: int) -> None:
        """Rarely: what comes after it is mostly refusals."""
        in_the_way = call == "unregister" and self.model.state in ("running", "destroyed")
        if hesitation == 1 and not in_the_way:
            self.take_control(call)

    @rule()
    @precondition(lambda self: self.model.state in ("retired", "stopped"))
    def revive(self) -> None:
        """Go on after an end that is none."""
        self.take_control("reset")

    @rule()
    @precondition(lambda self: self.model.paused and self.model.registered)
    def resume(self) -> None:
        """Let runs begin again; a paused runtime sees little else."""
        self.take_control("resume")

    @rule()
    @precondition(lambda self: not self.model.registered)
    def come_back(self) -> None:
        """Register what was unregistered."""
        self.take_control("register")

    def take_control(self, call: str) -> None:
        """Make a control call of both; for rules of one's own too."""
        run = self.model.run
        expected = self.model.control(call)
        self.same(f"the answer to {call}", expected, self.subject.control(call))
        if run is not None and self.model.run is not run:
            self.subject.let_go()

    # --- what the executor does ---------------------------------------------------------

    @rule(texts=st.integers(0, 2))
    @precondition(lambda self: self.holds_a_run)
    def complete(self, texts: int) -> None:
        """The run succeeds."""
        append = self._messages(texts)
        self.subject.tell(lambda _: RunOutput(append=append))

    @rule(
        error=st.sampled_from(
            [
                ValueError("boom"),
                ApplyFailed("boom"),
                ApplyFailed("for good", recoverable=False),
                RunCancelled(),
                ExecutorStopped(),
            ]
        )
    )
    @precondition(lambda self: self.holds_a_run)
    def fail(self, error: Exception) -> None:
        """The run ends badly."""
        self.subject.tell(_raising(error))

    @rule(texts=st.integers(0, 1), commits=st.booleans())
    @precondition(lambda self: self.holds_a_run)
    def look_at_the_boundary(self, texts: int, commits: bool) -> None:  # noqa: FBT001
        """The run is handed what was steered into it, and may commit it."""
        append, waiting = self._messages(texts), bool(self.model.steered())

        def look(context: Any) -> None:
            boundary = context.boundary()
            if commits and boundary:
                boundary.commit(append=append)

        self.same("whether anything is steered", waiting, bool(self.model.steered()))
        self.subject.tell(look)

    @rule()
    @precondition(lambda self: self.holds_a_run and self.model.admits)
    def steer_behind_its_back(self) -> None:
        """What a run has been handed is not replaced by a newer one of its key."""
        newer = Offer("progress", {"supersession_key": "s"})
        self.accept(newer.make())
        self.look_at_the_boundary(texts=0, commits=False)
        self.follow()
        self.accept(newer.make())

    @property
    def holds_a_run(self) -> bool:
        """Is a puppet waiting to be told what to do?"""
        return self.model.run is not None and self.subject.puppet is not None

    def _messages(self, texts: int) -> list[dict[str, Any]]:
        return [{"said": len(self.model.messages) + each} for each in range(texts)]

    # --- what befalls it ----------------------------------------------------------------

    @rule(hesitation=st.integers(1, 3))
    def crash(self, hesitation: int) -> None:
        """The process dies, and another one opens the store."""
        if hesitation > 1:
            return
        self.model.reopen()
        self.subject.crash()
        self.plane = self.subject.plane

    @rule(days=st.sampled_from([-1, 1]))
    def jump(self, days: int) -> None:
        """The clock is set by a day."""
        self.subject.sim.clock.jump(days=days)

    @rule()
    @precondition(lambda self: self.model.held or (self.make_executor and self.model.run))
    def let_time_pass(self) -> None:
        """Back-offs end, and what an executor waits for; which comes first chance has to say."""
        self._wait()

    def _wait(self) -> None:
        self.subject.wait()
        self.follow(waited=True)
        for lane in sorted(self.model.held, reverse=True):
            self.model.back_off_is_over(lane)

    @rule(when=st.sampled_from(When), hesitation=st.integers(1, 3))
    @precondition(lambda self: self.model.admits)
    def lose_an_acceptance(self, when: When, hesitation: int) -> None:
        """The commit of an input fails, before or after it was done."""
        offered = PromptInput("lost, or not")
        if hesitation > 1:
            return
        self.subject.fail_next_commit(when)
        told = self.subject.offer(offered)
        self.same("what is told of it", ("refused", told[-1]), told)
        if when is When.AFTER:
            self.model.accept(offered)
        self._begun_anew(failed=self.subject.has_failed())

    @rule(when=st.sampled_from(When), texts=st.integers(0, 1))
    @precondition(lambda self: self.holds_a_run)
    def lose_a_result(self, when: When, texts: int) -> None:
        """The commit of a run's end fails, before or after it was done."""
        append = self._messages(texts)
        self.subject.fail_next_commit(when)
        self.subject.tell(lambda _: RunOutput(append=append))
        self.same("that the commit failed", expected=True, found=self.subject.has_failed())
        self.follow(until="completed")
        if when is When.AFTER:
            self.model.complete(RunOutput(append=append))
        self._begun_anew(failed=True)

    def _begun_anew(self, *, failed: bool) -> None:
        """After a failed commit the runtime goes on from what is on disk."""
        self.same("that the commit failed", expected=True, found=failed)
        self.model.reopen(same_process=True)
        self.subject.let_go()
        self._wait()

    # --- what must be so ----------------------------------------------------------------

    def same(self, what: str, expected: Any, found: Any) -> None:
        """What the model says must be what is found."""
        if expected != found:
            raise AssertionError(f"{what}: the model expects {expected}, found is {found}")

    def follow(self, *, until: str | None = None, waited: bool = False) -> None:
        """Have the model do what executors have done meanwhile.

        What has ``waited`` is begun when its back-off is over, and nobody says so but its run.
        """
        while self.subject.happened:
            happened = self.subject.happened.pop(0)
            if happened.what == until:
                return
            self.following.take(happened, waited=waited)

    @invariant()
    def agrees(self) -> None:
        """The model and the runtime are the same, and all invariants hold."""
        if hasattr(self, "subject"):
            self.follow()
            self.seen = compare(self.model, self.subject, self.seen)
