"""Rounds of calls by eight threads to a few runtimes, noted with when each began and ended."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from threading import Barrier
from typing import Any, Final

from attrs import define, evolve, field, frozen
from linearizability import Anomaly, Call, Undecided, anomaly_in
from runtime_model import LOOKS, Answer, Asked, Offered, Runtime, RuntimeModel, invalid

from actors import ControlPlane
from meerkat import (
    AcceptOutcome,
    CompletionOutcome,
    Deduplicated,
    Input,
    InputId,
    OperationId,
    OperationInput,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
)
from meerkat.errors import ApplyFailed, CallTimedOut, InvalidState, MeerkatError

CALLERS: Final = 8
CALLS_EACH: Final = 40
RUNTIMES: Final = 3
OFFERED: Final = 12
WAIT_S: Final = 60.0

LEAVE: Final = "all at rest leave memory"
"""What is no call of a caller, and must change nothing that callers see."""

HOW_OFTEN: Final = {
    "ingest": 40,
    "submit": 25,
    "input_state": 30,
    "runtime_state": 25,
    "active_input_ids": 12,
    "attach_executor": 9,
    "detach_executor": 7,
    "reset": 10,
    "retire": 6,
    "recycle": 8,
    "recover": 8,
    "stop_runtime": 3,
    "destroy": 1,
    LEAVE: 6,
}
IN_HASTE: Final = 0.02
"""The share of calls whose caller waits a part of a millisecond and goes away."""


def work(_context: RunContext, primitive: StagedInput) -> RunOutput:
    """The executor: every run of some inputs fails."""
    if primitive.text == "fail":
        raise ApplyFailed("as it was asked to")
    return RunOutput(append=[{"role": "user", "content": primitive.text}])


# --- what is offered --------------------------------------------------------------------


@frozen
class Offers:
    """The inputs of one runtime, each of which is offered several times."""

    described: list[Offered]
    inputs: list[Input]
    number_of: dict[InputId, int]


def offers(chance: random.Random) -> Offers:
    described = [_drawn(chance, number) for number in range(OFFERED)]
    inputs = [_input(each) for each in described]
    return Offers(described, inputs, {each.id: number for number, each in enumerate(inputs)})


def _drawn(chance: random.Random, number: int) -> Offered:
    plain = Offered(number, key=chance.choice([None, "k1", "k2", f"own {number}"]))
    match chance.randrange(6):
        case 0:
            return evolve(plain, is_operation=True)
        case 1:
            return evolve(plain, fails=True)
        case 2 | 3:
            return evolve(plain, supersedes="s")
    return plain


def _input(each: Offered) -> Input:
    if each.is_operation:
        return OperationInput(OperationId.new(), {}, idempotency_key=each.key)
    text = "fail" if each.fails else f"input {each.number}"
    return PromptInput(text, idempotency_key=each.key, supersession_key=each.supersedes)


# --- one round --------------------------------------------------------------------------


@frozen
class HandleEnded:
    """A handle on the end of an input has been settled, between two moments."""

    runtime: str
    accepted: Future[AcceptOutcome]
    handle: Future[CompletionOutcome]
    moments: tuple[int, int]


@define
class Round:
    """A few fresh runtimes of a plane, and all that was asked of them."""

    plane: ControlPlane
    number: int
    histories: dict[str, list[Call]] = field(init=False)
    _offers: dict[str, Offers] = field(init=False)
    _ended: list[HandleEnded] = field(factory=list)
    _moments: Iterator[int] = field(factory=count)

    def __attrs_post_init__(self) -> None:
        names = [f"round-{self.number}/{n}" for n in range(RUNTIMES)]
        self.histories = {name: [] for name in names}
        self._offers = {name: offers(random.Random(name)) for name in names}

    def perform(self, callers: ThreadPoolExecutor) -> None:
        """Have everybody call, until each has made all his calls."""
        self.plane.register_many(self.histories)
        together = Barrier(CALLERS)
        calling = [callers.submit(self._calls, number, together) for number in range(CALLERS)]
        for each in calling:
            each.result(WAIT_S)
        for each in tuple(self._ended):
            if each.accepted.exception(0) is None:
                self._note_end(each)

    def anomalies(self) -> tuple[dict[str, Anomaly], int]:
        """Where histories stop being what an order explains; how many are undecided."""
        found, undecided = {}, 0
        for name, history in self.histories.items():
            try:
                anomaly = anomaly_in(history, RuntimeModel(), Runtime())
            except Undecided:
                undecided += 1
            else:
                found |= {} if anomaly is None else {name: anomaly}
        return found, undecided

    def _calls(self, caller: int, together: Barrier) -> None:
        chance = random.Random(f"{self.number} {caller}")
        together.wait(WAIT_S)
        for _ in range(CALLS_EACH):
            (what,) = chance.choices(list(HOW_OFTEN), HOW_OFTEN.values())
            name = chance.choice(list(self.histories))
            hasty = chance.random() < IN_HASTE
            timeout_s = chance.random() / 2_000 if hasty else WAIT_S
            number = chance.randrange(OFFERED)
            if what == LEAVE:
                system = self.plane._life.system
                system.directory.passivate(system.clock.monotonic())
            else:
                self._noted(name, what, number, timeout_s)

    def _noted(self, name: str, what: str, number: int, timeout_s: float) -> None:
        offered = self._offers[name]
        about = what in {"ingest", "submit", "input_state"}
        asked = Asked(what, offered.described[number] if about else None)
        call = self._call(name, what, offered.inputs[number], timeout_s)
        called, returned = next(self._moments), None
        try:
            answer = call()
        except CallTimedOut:
            said = None
        except InvalidState as refused:
            said, returned = invalid(str(refused.state)), next(self._moments)
        except MeerkatError as error:
            said, returned = (repr(error),), next(self._moments)
        else:
            returned = next(self._moments)
            said = ANSWERS[what](answer, offered.number_of)
        if returned is not None or what not in LOOKS:  # a look without an answer says nothing
            noted = Call(asked, called=called, returned=returned, answer=said)
            self.histories[name].append(noted)

    def _call(self, name: str, what: str, offered: Input, timeout_s: float) -> Callable[[], Any]:
        match what:
            case "submit":
                return lambda: self._submit(name, offered)
            case "ingest":
                return lambda: self.plane.ingest(name, offered, timeout=timeout_s)
            case "input_state":
                return lambda: self.plane.input_state(name, offered.id, timeout=timeout_s)
            case "attach_executor":
                return lambda: self.plane.attach_executor(name, work, timeout=timeout_s)
        return partial(getattr(self.plane, what), name, timeout=timeout_s)

    def _submit(self, name: str, offered: Input) -> AcceptOutcome:
        sent = self.plane.submit(name, offered)

        def ended(handle: Future[CompletionOutcome]) -> None:
            moments = next(self._moments), next(self._moments)
            self._ended.append(HandleEnded(name, sent.accepted, handle, moments))

        sent.completion.add_done_callback(ended)
        return sent.accepted.result(WAIT_S)

    def _note_end(self, ended: HandleEnded) -> None:
        """A handle that has ended says what has become of its input, for good."""
        outcome, offered = ended.accepted.result(0), self._offers[ended.runtime]
        known = outcome.existing_id if isinstance(outcome, Deduplicated) else outcome.input_id
        asked = Asked("ended", offered.described[offered.number_of[known]])
        answer = (PHASE_OF[str(ended.handle.result(0).kind)],)
        called, returned = ended.moments
        noted = Call(asked, called=called, returned=returned, answer=answer)
        self.histories[ended.runtime].append(noted)


# --- answers in the words of the model --------------------------------------------------

PHASE_OF: Final = {
    "completed": "consumed",
    "completed_without_result": "consumed",
    "displaced": "superseded",
    "abandoned": "abandoned",
    "cancelled": "abandoned",
    "runtime_terminated": "abandoned",
}


def _of_outcome(outcome: Any, number_of: dict[InputId, int]) -> Answer:
    if isinstance(outcome, Deduplicated):
        phase = str(outcome.existing_state.phase)
        return ("deduplicated", number_of[outcome.existing_id], phase)
    return ("accepted", str(outcome.state.phase))


ANSWERS: Final[dict[str, Callable[[Any, dict[InputId, int]], Answer]]] = {
    "ingest": _of_outcome,
    "submit": _of_outcome,
    "input_state": lambda state, _: (None if state is None else str(state.phase),),
    "runtime_state": lambda state, _: (str(state),),
    "active_input_ids": lambda ids, number_of: tuple(number_of[each] for each in ids),
    "attach_executor": lambda _nothing, _: (),
    "detach_executor": lambda _nothing, _: (),
    "reset": lambda report, _: (report.inputs_abandoned,),
    "retire": lambda report, _: (report.inputs_abandoned, report.inputs_pending_drain),
    "recycle": lambda report, _: (report.inputs_transferred,),
    "recover": lambda report, _: (
        report.inputs_recovered,
        report.inputs_requeued,
        report.inputs_abandoned,
    ),
    "stop_runtime": lambda report, _: (report.inputs_abandoned,),
    "destroy": lambda report, _: (report.inputs_abandoned,),
}
