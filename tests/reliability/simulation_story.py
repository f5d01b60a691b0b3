"""The story that is told to a simulation, and what must hold after it, whatever went wrong.

Three clients of a host offer their inputs, each to a runtime of its own, and offer again under
the same key whatever was refused or not answered; a fourth one meddles with one of the
runtimes. The host opens a plane anew whenever the process was killed. In the end nothing goes
wrong any more, and all that is left is worked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from actors import ControlPlane
from meerkat import (
    Accepted,
    AcceptOutcome,
    Deduplicated,
    InputId,
    LogicalRuntimeId,
    OperationId,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
)
from meerkat.errors import (
    ApplyFailed,
    CommitUnknown,
    MeerkatError,
    RuntimeNotFound,
    RuntimeUnavailable,
)
from meerkat.limits import Backoff, Limits
from meerkat.operations import OperationKind
from meerkat.outcomes import CompletionKind
from meerkat.testing import ProcessKilled, Promises, Simulation

T = TypeVar("T")

CALM, BUSY, TORN = "calm", "busy", "torn"
RUNTIMES: Final = (CALM, BUSY, TORN)
INPUTS: Final = 8
WAIT_S: Final = 120.0
PAUSE_S: Final = 1.0
TRIES: Final = 500
"""How often a client asks again before it has lost patience: faults come in many at a time."""

SETTINGS: Final[dict[str, Any]] = {
    "backoff": Backoff(base_s=0.5, cap_s=8.0),
    "limits": Limits(max_attempts=4, live_runtimes_max=2),
    "passivate_after": 5.0,
    "max_concurrent_runs": 2,
    "run_deadline_s": 60.0,
}


class Story:
    """One host, and what it was told."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.promises = Promises()
        self._chance = random.Random(f"host of {sim.seed}")
        self._plane: ControlPlane | None = None
        self._opening = False

    def tell(self) -> None:
        """Tell it; what does not hold, or does not end, is raised."""
        clients = [self.sim.begin(partial(self._client, name)) for name in RUNTIMES]
        meddler = self.sim.begin(self._meddler)
        for client in (*clients, meddler):
            self._in_the_end(client.result)
        self.sim.calm()
        self.sim.clock.thaw()
        self._again(lambda plane: [plane.recover(name, timeout=WAIT_S) for name in RUNTIMES])
        self._again(lambda plane: plane.stop(drain=True, timeout=WAIT_S))
        for name in RUNTIMES:
            assert self.sim.store.load_active_inputs(LogicalRuntimeId(name)) == [], name
        self.sim.check()
        self.promises.check(self.sim.store)
        self._check_conversations()

    def _check_conversations(self) -> None:
        """What was consumed is in the conversation, once; and nothing else is."""
        store = self.sim.store
        for name in RUNTIMES:
            runtime_id = LogicalRuntimeId(name)
            session = store.load_session_snapshot(runtime_id)
            said = [] if session is None else json.loads(session.messages)
            consumed: list[str] = []
            after = None
            while True:
                page = store.page_terminal_inputs(runtime_id, after=after)
                consumed += [
                    str(state.input_id)
                    for state in page.items
                    if str(state.phase) == "consumed" and state.idempotency_key is not None
                ]
                if (after := page.next) is None:
                    break
            told = [message["id"] for message in said if message["key"]]
            assert sorted(told) == sorted(consumed), name

    # --- the plane ----------------------------------------------------------------------

    def _present(self) -> ControlPlane:
        """The plane that runs; one client opens it, the others wait for that."""
        while self._opening:
            self.sim.sleep(PAUSE_S)
        if self._plane is None:
            self._opening = True
            try:
                self._plane = self.sim.plane(self._agent, **SETTINGS)
            finally:
                self._opening = False
        return self._plane

    def _again(self, call: Callable[[ControlPlane], T]) -> T:
        """What a call gives in the end."""
        refused: MeerkatError | None = None
        for _ in range(TRIES):
            plane = None
            try:
                plane = self._present()
                return call(plane)
            except ProcessKilled:
                if self._plane is plane:
                    self._plane = None
            except RuntimeUnavailable as error:
                with suppress(MeerkatError, ProcessKilled):
                    plane.recover(error.runtime_id, timeout=WAIT_S)  # type: ignore[union-attr]
            except MeerkatError as error:
                refused = error
                self._pause()
        raise AssertionError(f"refused again and again: {refused}") from refused

    def _pause(self) -> None:
        with suppress(ProcessKilled):
            self.sim.sleep(PAUSE_S * self._chance.random())

    def _in_the_end(self, call: Callable[[], T]) -> T:
        """The same of a wait for others of the host, whatever happens to the process."""
        while True:
            with suppress(ProcessKilled):
                return call()

    # --- those who call it --------------------------------------------------------------

    def _client(self, name: str) -> None:
        self._again(lambda plane: plane.register(name, timeout=WAIT_S))
        outcomes = [self._offer(name, number) for number in range(INPUTS)]
        for outcome in outcomes:
            self._again(partial(self._end_of, name, outcome))

    def _offer(self, name: str, number: int) -> AcceptOutcome:
        meta = {"handling_mode": "steer"} if self._chance.random() < 1 / 3 else None
        offered: list[InputId] = []

        def offer(plane: ControlPlane) -> AcceptOutcome:
            prompt = PromptInput(
                f"{name} {number}", idempotency_key=f"{name}-{number}", turn_metadata=meta
            )
            try:
                outcome = plane.ingest(name, prompt, timeout=WAIT_S)
            except (CommitUnknown, TimeoutError, ProcessKilled):
                raise
            except MeerkatError:
                self.promises.refused(name, prompt.id)
                raise
            offered.append(prompt.id)
            return outcome

        outcome = self._again(offer)
        if isinstance(outcome, Accepted):
            self.promises.accepted(name, outcome)
        return outcome

    def _end_of(self, name: str, outcome: AcceptOutcome, plane: ControlPlane) -> None:
        handle = plane.completion(name, outcome, timeout=WAIT_S)
        try:
            ended = handle.result(WAIT_S)
        except TimeoutError:  # its runtime may be set aside, which this call is told
            plane.runtime_state(name, timeout=WAIT_S)
            raise
        if ended.kind is CompletionKind.RUNTIME_TERMINATED:  # by its plane's end, or its own
            state = plane.input_state(name, handle_id(outcome), timeout=WAIT_S)
            if state is None or not state.is_terminal:
                raise CommitUnknown("ask again")
        self.promises.resolved(name, handle_id(outcome), ended.kind)

    def _meddler(self) -> None:
        """Recycles and restarts one runtime, looks at all, and changes the executor."""
        for _ in range(self._chance.randrange(8)):
            self._in_the_end(lambda: self.sim.sleep(10 * self._chance.random()))
            for deed in self._chance.choice(self._deeds()):
                self._again(deed)

    def _deeds(self) -> list[tuple[Callable[[ControlPlane], object], ...]]:
        """What it may do next, each as one call after the other."""

        def call(method: str, *arguments: Any) -> Callable[[ControlPlane], object]:
            return lambda plane: getattr(plane, method)(*arguments, timeout=WAIT_S)

        return [
            (call("recycle", BUSY),),
            (call("recover", CALM),),
            (call("interrupt", TORN, "now"),),
            (call("interrupt", BUSY, "after_boundary"),),
            (call("runtime_state", CALM), call("active_input_ids", BUSY)),
            (call("detach_executor", BUSY), call("attach_executor", BUSY, self._agent)),
            (call("reset", TORN),),
            (call("stop_runtime", TORN), call("reset", TORN)),
            (call("retire", TORN), call("recycle", TORN)),
            (self._unregister, call("register", TORN)),
            (lambda _plane: self.sim.check(),),
            (lambda plane: plane.stop(timeout=WAIT_S), self._forget),
        ]

    def _unregister(self, plane: ControlPlane) -> None:
        with suppress(RuntimeNotFound):  # a call before was in doubt, and has happened
            plane.unregister(TORN, timeout=WAIT_S)

    def _forget(self, plane: ControlPlane) -> None:
        """It was stopped: the next to call opens another one."""
        if self._plane is plane:
            self._plane = None

    # --- the executor -------------------------------------------------------------------

    def _agent(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        """Takes in what is steered, waits, fails, and leaves something in the background."""
        name, draw = str(context.runtime_id), self._chance.random()
        self.promises.called(name, context.run_id, primitive.contributing_input_ids)
        if draw < 0.1:
            raise ApplyFailed("once in a while")
        if draw < 0.3:
            context.wait(20 * self._chance.random())
        if draw < 0.2 and name == BUSY:
            self._begin_in_background(context)
        boundary = context.boundary()
        if boundary:
            said = [_message(each) for each in boundary.inputs]
            self.promises.receipt(name, boundary.commit(append=said))
        if draw > 0.9:
            context.raise_if_cancelled()
            context.progress("nearly there")
        return RunOutput(append=[_message(each) for each in primitive.inputs], result=draw)

    def _begin_in_background(self, context: RunContext) -> None:
        registry, operation_id = context.bindings.ops_lifecycle, OperationId.new()
        kind = OperationKind.BACKGROUND_TOOL_OP
        registry.register(operation_id, kind=kind, display_name="search")
        registry.provisioning_succeeded(operation_id)

        def work() -> None:
            with suppress(MeerkatError, ProcessKilled):
                self.sim.sleep(5 * self._chance.random())
                registry.complete(operation_id, {"found": 1})

        self.sim.begin(work)


def handle_id(outcome: AcceptOutcome) -> InputId:
    """The input that an outcome is about."""
    match outcome:
        case Accepted(input_id=input_id) | Deduplicated(existing_id=input_id):
            return input_id
    raise AssertionError(f"rejected: {outcome}")


def _message(said: Any) -> dict[str, Any]:
    key = said.idempotency_key
    text = getattr(said, "content", None) or "go on"
    return {"role": "user", "content": text, "id": str(said.id), "key": key and str(key)}
