"""Model: what one runtime does, written down a second time, from semantics.md alone.

Plain dictionaries and lists, the simplest code that says what must come out: no store, no
commit, no message. Nothing of the kernel is used, of the ledger, the policy or the tables of
steps, so that a mistake would have to be made twice. A call gives what it answers, as a plain
tuple, and leaves behind what must be seen afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from meerkat.inputs import Input
from meerkat.runs import RunOutput
from meerkat.testing.model_policy import decide
from meerkat.testing.model_values import (
    Answer,
    Known,
    Proof,
    Run,
    abandon,
    batch,
    digest_of,
    inadmissible,
    put_back,
)


class RuntimeModel:
    """One runtime of a control plane that always has a run slot. Not thread-safe.

    ``policy`` is a host's own, None for the default one.
    """

    def __init__(
        self,
        *,
        policy: Any = None,
        executor: bool = True,
        max_attempts: int = 3,
        crash_attempts_max: int = 10,
        pending_inputs_max: int = 10_000,
    ) -> None:
        self.max_attempts, self.crash_attempts_max = max_attempts, crash_attempts_max
        self.pending_inputs_max = pending_inputs_max
        self._policy, self._plane_has_one = policy, executor
        self.state, self.executor = "attached" if executor else "idle", executor
        self.inputs: dict[str, Known] = {}
        self.keys: dict[str, str] = {}
        self.silent: frozenset[str] = frozenset()
        self.run: Run | None = None
        self.held: set[str] = set()
        self.awake = self.paused = False
        self.registered = True
        self.messages: list[Any] = []
        self.opaque = False
        self.receipts: list[Proof] = []
        self.epoch = 0
        self._admitted = 0

    # --- looking ------------------------------------------------------------------------

    def active(self) -> list[Known]:
        """What has not ended, in order of admission."""
        return sorted((k for k in self.inputs.values() if k.active), key=lambda k: k.number)

    def waiting(self, lane: str) -> list[Known]:
        """A lane, head first: what was tried before, then the others."""
        queued = [k for k in self.active() if k.phase == "queued" and k.lane == lane]
        return sorted(queued, key=lambda k: (not k.attempts, k.number))

    def steered(self) -> list[Known]:
        """What a boundary hands over: the content turns of the steer lane."""
        return [k for k in self.waiting("steer") if k.kind != "continuation"]

    @property
    def admits(self) -> bool:
        """Would a sound input be accepted?"""
        full = len(self.active()) >= self.pending_inputs_max
        return self._not_admitting() is None and not full

    # --- accepting ----------------------------------------------------------------------

    def accept(self, offered: Input) -> Answer:
        """Sections 2 and 5: state, admission, idempotency, policy, lane, in this order."""
        refusal = self._not_admitting() or inadmissible(offered)
        if refusal is not None:
            return refusal
        key = None if offered.idempotency_key is None else offered.idempotency_key.value
        known = self.keys.get(key or "") or (str(offered.id) in self.inputs and str(offered.id))
        if known:
            return ("deduplicated", known)
        if len(self.active()) >= self.pending_inputs_max:
            return ("refused", "overloaded")
        self._take_in(offered, key)
        self.start()
        return ("accepted", str(offered.id))

    def _not_admitting(self) -> Answer | None:
        if not self.registered:
            return ("refused", "runtime_not_found")
        if self.state in ("retired", "stopped", "destroyed"):
            return ("refused", "invalid_state", self.state)
        if self.run is not None and self.run.returns_to == "retired":
            return ("refused", "invalid_state", "retired")
        return None

    def _take_in(self, offered: Input, key: str | None) -> None:
        intent = getattr(getattr(offered, "convention", None), "intent", None)
        said = decide(
            offered,
            self._policy,
            running=self.state == "running",
            silent=intent in self.silent,
        )
        kind, name = str(offered.kind), offered.supersession_key
        new = Known(
            id=str(offered.id),
            kind=kind,
            ephemeral=str(offered.durability) == "ephemeral",
            key=key,
            scope=None if name is None else (kind, name.value),
            lane=said.lane,
            sharing=said.sharing,
            boundary=said.boundary,
            metadata=getattr(offered, "turn_metadata", None) or {},
            number=self._admitted,
        )
        self._admitted += 1
        if new.lane is None:
            new.history.append("consumed")
            new.end = "consumed"
        else:
            self._take_place(new)
            new.history.append("queued")
            self.awake = self.awake or said.wakes
        self.inputs[new.id] = new
        if key is not None:
            self.keys[key] = new.id

    def _take_place(self, new: Known) -> None:
        """Replace what waits under the same scope, but for what a boundary has handed over."""
        if new.scope is None or new.sharing not in ("supersede", "coalesce"):
            return
        handed = set() if self.run is None else self.run.handed
        for old in self.waiting(new.lane or ""):
            shares = old.scope == new.scope and old.sharing in ("supersede", "coalesce")
            if shares and old.id not in handed:
                end = f"{new.sharing.removesuffix('e')}ed"
                old.history.append(end)
                old.end = f"{end} {new.id}"

    # --- runs ---------------------------------------------------------------------------

    def start(self) -> None:
        """Section 8: take the next batch in hand, if the runtime is free to."""
        free = self.run is None and self.state in ("idle", "attached", "retired")
        if not (free and self.awake and self.executor and self.registered) or self.paused:
            return
        for lane in ("steer", "queue"):
            taken = [] if lane in self.held else batch(lane, self.waiting(lane))
            if taken:
                self.run = Run(taken, lane, taken[0].boundary, self.state)
                self.state = "running"
                for each in taken:
                    each.history.append("staged")
                    each.attempts += 1
                    each.run = True
                return

    def hand_over(self) -> list[str]:
        """The executor looks at its boundary."""
        run = self._in_hand()
        run.handed = {k.id for k in self.steered()}
        return [k.id for k in self.steered()]

    def commit_boundary(self, ids: Sequence[str], output: RunOutput) -> None:
        """The executor commits what it was handed."""
        waiting = {known.id: known for known in self.steered()}
        self._prove([waiting[each] for each in ids], "run_checkpoint", output, self._in_hand())

    def complete(self, output: RunOutput) -> None:
        """The run succeeded."""
        run = self._in_hand()
        self._prove(run.inputs, run.boundary, output, run)
        self._over(run)

    def _prove(self, inputs: list[Known], boundary: str, output: RunOutput, run: Run) -> None:
        for each in inputs:
            if each.phase == "queued":
                each.history.append("staged")
                each.attempts, each.run = each.attempts + 1, True
            each.history += ["applied", "applied_pending_consumption", "consumed"]
            each.end = "consumed"
        digest, count = self._say(output)
        ids = [each.id for each in inputs]
        self.receipts.append(Proof(ids, boundary, run.receipts, count, digest))
        run.receipts += 1

    def _say(self, output: RunOutput) -> tuple[str | None, int]:
        """What becomes of the conversation, and what a receipt says of it."""
        if output.messages is not None:
            self.messages = [*output.messages]
        self.messages += output.append or ()
        self.opaque = self.opaque or output.snapshot is not None
        silent = output.snapshot is not None or (
            self.opaque and not self.messages and output.append is output.messages is None
        )
        digest = None if silent else digest_of(self.messages)
        count = 0 if silent else len(self.messages)
        said = output.message_count
        return output.conversation_digest or digest, count if said is None else said

    def fail(self, *, recoverable: bool = True) -> None:
        """The run failed: once more after a back-off, or never again."""
        run = self._in_hand()
        for each in run.inputs:
            if recoverable and each.attempts < self.max_attempts:
                put_back(each)
                self.held.add(run.lane)
            else:
                abandon(each, f"max_attempts_exhausted {each.attempts}")
        self._over(run)

    def cancel(self) -> None:
        """The run was cancelled."""
        run = self._in_hand()
        for each in run.inputs:
            abandon(each, "cancelled")
        self._over(run)

    def requeue(self) -> None:
        """The executor takes no more: its inputs wait, uncounted, and it is detached."""
        run = self._in_hand()
        for each in run.inputs:
            put_back(each)
            each.attempts -= 1
        self.executor = False
        self._over(run)
        self.state = "idle" if self.state == "attached" else self.state

    def _in_hand(self) -> Run:
        if self.run is None:
            raise AssertionError("the model has no run in hand")
        return self.run

    def _over(self, run: Run) -> None:
        self.run, self.state = None, run.returns_to
        self.awake = any(k.phase == "queued" for k in self.inputs.values())
        self.start()

    def back_off_is_over(self, lane: str | None) -> None:
        """Time has passed: this lane waits no more."""
        self.held.discard(lane or "")
        self.start()

    # --- control ------------------------------------------------------------------------

    def control(self, call: str) -> Answer:
        """Section 10: a call by its name on the control plane."""
        if self.state == "destroyed":
            return ("refused", "invalid_state", "destroyed")
        if call != "register" and not self.registered:
            return ("refused", "runtime_not_found")
        answer: Answer = getattr(self, call)()
        return answer

    def register(self) -> Answer:
        """Known again, if it was unregistered: with a fresh epoch, and what waits goes on."""
        if not self.registered:
            self.registered, self.epoch = True, self.epoch + 1
            self.reopen()
        return ("registered",)

    def unregister(self) -> Answer:
        """Forgotten in memory, not in the store; called while no run is in hand."""
        self.registered, self.awake = False, False
        self._forget_ephemeral()
        return ("report", {})

    def retire(self) -> Answer:
        """Drain with an executor; without one give up what waits."""
        if self.state == "retired" or (self.run and self.run.returns_to == "retired"):
            return ("report", {"inputs_abandoned": 0, "inputs_pending_drain": 0})
        gone = [] if self.executor else [k for k in self.active() if k.phase == "queued"]
        for each in gone:
            abandon(each, "retired")
        pending = len(self.active())
        self.awake = self.executor and bool(pending)
        if self.run is None:
            self.state = "retired"
        else:
            self.run.returns_to = "retired"
        self.start()
        return ("report", {"inputs_abandoned": len(gone), "inputs_pending_drain": pending})

    def pause(self) -> Answer:
        """No run is begun from now on, whatever else is done to the runtime."""
        self.paused = True
        return ("report", {})

    def resume(self) -> Answer:
        """Runs are begun again."""
        self.paused = False
        self.start()
        return ("report", {})

    def recycle(self) -> Answer:
        """Start over, all pending work kept."""
        if self.state not in ("idle", "attached", "retired"):
            return ("refused", "invalid_state", self.state)
        self.state = "idle" if self.state == "retired" else self.state
        pending = len(self.active())
        self._wake_for_all()
        return ("report", {"inputs_transferred": pending})

    def recover(self) -> Answer:
        """Nothing is in flight without a run: all is kept, and woken."""
        if self.state == "running":
            return ("refused", "invalid_state", "running")
        pending = len(self.active())
        self._wake_for_all()
        counts = {"inputs_recovered": pending, "inputs_requeued": 0, "inputs_abandoned": 0}
        return ("report", counts)

    def reset(self) -> Answer:
        """Give everything up, and begin a new epoch."""
        if self.state == "running":
            return ("refused", "invalid_state", "running")
        self.epoch += 1
        return self._give_up("reset", "idle")

    def stop_runtime(self) -> Answer:
        """Give everything up, the run in hand too; only a reset revives the runtime."""
        return self._give_up("stopped", "stopped")

    def destroy(self) -> Answer:
        """Give everything up, for good."""
        return self._give_up("destroyed", "destroyed")

    def attach_executor(self) -> Answer:
        """Somebody is there to work."""
        self.executor, self.awake = True, bool(self.active())
        if self.run is not None and self.run.returns_to == "idle":
            self.run.returns_to = "attached"
        self.state = "attached" if self.state == "idle" else self.state
        self.start()
        return ("report", {})

    def detach_executor(self) -> Answer:
        """Nobody is there any more; a run in hand goes on."""
        self.executor = False
        if self.run is not None and self.run.returns_to == "attached":
            self.run.returns_to = "idle"
        self.state = "idle" if self.state == "attached" else self.state
        return ("report", {})

    def set_silent_intents(self, intents: Iterable[str]) -> Answer:
        """Requests with one of these intents wake nobody from now on."""
        refusal = self.control("_nothing")
        if refusal[0] != "refused":
            self.silent = frozenset(intents)
        return refusal

    def _nothing(self) -> Answer:
        return ("report", {})

    def _wake_for_all(self) -> None:
        self.held.clear()
        self.awake = bool(self.active())
        self.start()

    def _give_up(self, why: str, state: str) -> Answer:
        gone = self.active()
        for each in gone:
            abandon(each, why)
        self.run, self.state, self.awake, self.silent = None, state, False, frozenset()
        self.held.clear()
        return ("report", {"inputs_abandoned": len(gone)})

    # --- crashes ------------------------------------------------------------------------

    def reopen(self, *, same_process: bool = False) -> None:
        """Section 11: all that is not on disk is gone, and what was in flight is put right."""
        self._forget_ephemeral()
        if self.run is not None:
            self.state = self.run.returns_to
            self.run = None
        for each in self.active():
            if each.phase == "staged":
                self._requeue(each)
        if not same_process:
            self.executor = self._plane_has_one
        if self.state in ("idle", "attached"):
            self.state = "attached" if self.executor else "idle"
        self._wake_for_all()

    def _forget_ephemeral(self) -> None:
        self.inputs = {name: known for name, known in self.inputs.items() if not known.ephemeral}
        self.keys = {key: name for key, name in self.keys.items() if name in self.inputs}

    def _requeue(self, each: Known) -> None:
        each.recovered += 1
        if each.attempts >= self.crash_attempts_max:
            abandon(each, f"max_attempts_exhausted {each.attempts}")
        else:
            put_back(each)
