"""The story that is told over a store that fails: two lives of a plane, and a host as it should be.

It offers again what was refused, under the same key, asks again what could not be answered,
and starts again what would not start. What it was told is noted, and held against what is
stored at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from attrs import define, field

from actors import ControlPlane, DriverThreads
from actors.restarts import RestartPolicy, Restarts, Strategy
from meerkat import (
    Accepted,
    Deduplicated,
    InputPhase,
    LogicalRuntimeId,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
)
from meerkat.errors import ApplyFailed, CallTimedOut, MeerkatError, StoreError
from meerkat.json_values import parse
from meerkat.limits import Backoff, Retention
from meerkat.outcomes import CompletionKind
from meerkat.store import RuntimeStore
from meerkat.testing import Promises
from meerkat.testing.invariants import check_store

T = TypeVar("T")

WAIT_S = 20.0
TRIES = 50
RUNTIMES = ("a", "b")
NAMES = ("a-plain", "b-plain", "a-steered", "b-steered", "b-late")
KEEP = Retention(max_count=1)

AT_ONCE = Backoff(base_s=0.0)
RESTART = RestartPolicy(
    drivers=Restarts(backoff=AT_ONCE),
    journal=Restarts(strategy=Strategy.REST_FOR_ONE, backoff=AT_ONCE),
)


@define
class Told:
    """What came of one telling."""

    promises: Promises = field(factory=Promises)
    untyped: list[BaseException] = field(factory=list)
    revived: int = 0
    """Inputs whose acceptance had raised, and not for a doubt, and that were there."""


class Agent:
    """Leaves the name of what it is told, fails once, and takes in what is steered."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._has_failed = False

    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        ids = primitive.contributing_input_ids
        self._told.promises.called(context.runtime_id, context.run_id, ids)
        if primitive.text == "a-plain" and not self._has_failed:
            self._has_failed = True
            raise ApplyFailed("once")
        boundary = context.boundary()
        if boundary:
            boundary.commit(append=[_message(text) for text in boundary.texts])
        return RunOutput(append=[_message(append.text) for append in primitive.appends])


def _message(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


class Host:
    """Tells the story over ``store``; ``truth`` shows what is stored, and never fails."""

    def __init__(
        self,
        store: RuntimeStore,
        truth: RuntimeStore,
        drivers: DriverThreads = DriverThreads.POOLED,
    ) -> None:
        self._store, self._truth, self._drivers = store, truth, drivers
        self._plane: ControlPlane | None = None
        self._agent = Agent(told := Told())
        self.told = told

    def tell(self) -> Told:
        """Both lives, from start to end; AssertionError for what does not end."""
        try:
            self._tell()
        finally:
            if self._plane is not None:
                self._plane.stop(timeout=0)
        return self.told

    def _tell(self) -> None:
        plane = self._started()
        self._insist(lambda: plane.register_many(RUNTIMES, timeout=WAIT_S))
        for name in NAMES[:-1]:
            self._offer(plane, name)
        for name in NAMES[:-1]:
            self._end(plane, name)
        self._insist(lambda: plane.recycle("a", timeout=WAIT_S))
        self._until_done(lambda: self._store.prune(KEEP, datetime.now(UTC)))
        self._insist(lambda: plane.detach_executor("b", timeout=WAIT_S))
        self._offer(plane, NAMES[-1])
        self._stop(plane)
        plane = self._started()
        self._end(plane, NAMES[-1])
        self._stop(plane)

    def _started(self) -> ControlPlane:
        def start() -> ControlPlane:
            plane = self._plane = ControlPlane(
                self._store,
                self._agent,
                backoff=AT_ONCE,
                restart=RESTART,
                drivers=self._drivers,
                grace_s=1.0,
            )
            try:
                return plane.start()
            except MeerkatError:
                self._until_done(self._store.close)  # it is ours: nobody else can have it
                raise

        return self._insist(start)

    def _stop(self, plane: ControlPlane) -> None:
        plane.stop(timeout=WAIT_S)
        self._until_done(self._store.close)

    def _offer(self, plane: ControlPlane, name: str) -> None:
        """Offer an input until it is accepted; its handle ends with an answer each time."""
        offered = _prompt(name)

        def offer() -> Accepted | Deduplicated:
            try:
                outcome = plane.ingest(name[0], offered, timeout=WAIT_S)
            except StoreError as error:
                if type(error) is StoreError:
                    stored = self._truth.load_input(LogicalRuntimeId(name[0]), offered.id)
                    self.told.revived += stored is not None
                raise
            assert isinstance(outcome, Accepted | Deduplicated)
            return outcome

        outcome = self._insist(offer)
        input_id = outcome.input_id if isinstance(outcome, Accepted) else outcome.existing_id
        assert input_id == offered.id
        self.told.promises.accepted(name[0], input_id)

    def _end(self, plane: ControlPlane, name: str) -> None:
        """Wait for the end of an input: it was consumed."""

        def ended() -> CompletionKind:
            submission = plane.submit(name[0], _prompt(name))
            submission.accepted.result(WAIT_S)
            return submission.completion.result(WAIT_S).kind

        kind = self._insist(ended)
        assert kind is CompletionKind.COMPLETED_WITHOUT_RESULT, f"its handle ended as {kind}"

    def _insist(self, call: Callable[[], T]) -> T:
        """What a call gives in the end. What it raises until then has to be typed."""
        for _ in range(TRIES):
            try:
                return call()
            except (CallTimedOut, TimeoutError) as error:
                raise AssertionError("no answer") from error
            except MeerkatError:
                continue
            except Exception as error:  # noqa: BLE001 - counted
                self.told.untyped.append(error)
        raise AssertionError("refused again and again")

    @staticmethod
    def _until_done(call: Callable[[], object]) -> None:
        """Call the store itself, whose errors are those that were planted."""
        for _ in range(TRIES):
            with suppress(Exception):
                call()
                return
        raise AssertionError("failed again and again")


def _prompt(name: str) -> PromptInput:
    meta: Any = {"handling_mode": "steer"} if name.endswith("steered") else None
    return PromptInput(name, idempotency_key=name, turn_metadata=meta)


# --- what is left of it -----------------------------------------------------------------


@define
class Left:
    """What is stored at the end, against what was told."""

    lost: int = 0
    duplicated: int = 0
    untyped: int = 0

    def add(self, told: Told, truth: RuntimeStore) -> None:
        """Look at the end of one story; InvariantBroken for anything else that is wrong."""
        done: Counter[str] = Counter()
        stored = 0
        for moment in check_store(truth).values():
            stored += len(moment.inputs)
            assert moment.session is not None
            done.update(message["content"] for message in parse(moment.session.messages))
            assert {state.phase for state in moment.inputs.values()} == {InputPhase.CONSUMED}
        told.promises.count(truth)
        self.lost += told.promises.lost + sum(name not in done for name in NAMES)
        self.duplicated += done.total() - len(done) + told.promises.run_again
        self.duplicated += max(0, stored - len(NAMES)) + told.revived
        self.untyped += len(told.untyped)
        if not (self.lost or self.duplicated):
            told.promises.check(truth)
