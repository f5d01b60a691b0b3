"""Subject: a runtime of a simulated control plane, asked and looked at in the model's words.

Whatever it is told, it works until nothing is left to do, so that what is seen next does not
depend on how long anything takes. A call that is refused gives the refusal, as a tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from actors.control_plane import ControlPlane
from actors.restarts import RestartPolicy, Restarts
from meerkat.errors import InvalidState, MeerkatError, PolicyRefused
from meerkat.inputs import Input
from meerkat.kernel import RuntimeMemory
from meerkat.limits import Limits
from meerkat.outcomes import Accepted, Deduplicated, Rejected
from meerkat.runs import RunOutput
from meerkat.store.protocol import RuntimeStore
from meerkat.testing.faulty_store import FaultyStore, StoreCall, StoreFault, When
from meerkat.testing.model_values import Answer
from meerkat.testing.simulation import Simulation
from meerkat.testing.store_wrapper import COMMITS
from meerkat.testing.watched_runs import Happened, Instruction, Puppet, WatchedExecutor

FOREVER: Final = RestartPolicy(drivers=Restarts(intensity=10**6), journal=Restarts(intensity=10**6))
"""Faults are told to happen: none of them is one too many."""

A_BACK_OFF_S: Final = 60.0
"""Longer than any pause before something is tried again."""


class Subject:
    """One runtime, ``agent-1``, in a simulation of its own; :meth:`close` ends it."""

    runtime_id: Final = "agent-1"

    def __init__(
        self,
        store: RuntimeStore,
        make_executor: Callable[[], Any] | None,
        *,
        limits: Limits,
        policy: Any,
        seed: int = 0,
    ) -> None:
        self.store, self._make_executor = store, make_executor
        self._settings: dict[str, Any] = {"limits": limits}
        if policy is not None:
            self._settings["policy"] = policy
        self.happened: list[Happened] = []
        self._fault: StoreFault | None = None
        self.sim = Simulation(seed, store=FaultyStore(store, plan=self._plan, calls=COMMITS))
        self.sim.__enter__()
        self.plane: ControlPlane
        try:
            self._open()
            self.control("register")
        except BaseException:
            self.close()  # nobody else can: this thread would stay in the simulation
            raise

    def _open(self) -> None:
        self.puppet = Puppet() if self._make_executor is None else None
        executor = self._make_executor() if self._make_executor else self.puppet
        self.executor = WatchedExecutor(executor, self.happened.append)
        self.plane = self.sim.plane(
            self.executor, passivate_after=None, restart=FOREVER, **self._settings
        )

    def close(self) -> None:
        """End the simulation, and whatever runs in it."""
        self.sim.__exit__(None, None, None)

    # --- what is done to it -------------------------------------------------------------

    def ask(self, call: Callable[[], Any]) -> Any:
        """Make a call, and let everything come to rest; a refusal is given as a tuple.

        But for PolicyRefused: no model expects it, and its text is for the policy's author.
        """
        try:
            told = call()
        except PolicyRefused:
            raise
        except InvalidState as refused:
            told = ("refused", refused.code, str(refused.state))
        except MeerkatError as refused:
            told = ("refused", refused.code)
        self.sim.run()
        return told

    def offer(self, offered: Input) -> Answer:
        """Offer an input."""
        told = self.ask(lambda: self._accepted(offered))
        match told:
            case Accepted():
                return ("accepted", str(told.input_id))
            case Deduplicated():
                return ("deduplicated", str(told.existing_id))
            case Rejected():
                return ("rejected", type(told.reason).__name__)
        answer: Answer = told
        return answer

    def _accepted(self, offered: Input) -> Any:
        submission = self.plane.submit(self.runtime_id, offered)
        self.sim.run()  # one change of threads, where ingest and what follows it take two
        return submission.accepted.result(0)

    def control(self, call: str, *arguments: Any) -> Answer:
        """Make a control call by its name."""
        if call == "attach_executor":
            arguments = (self.executor,)
        told = self.ask(lambda: getattr(self.plane, call)(self.runtime_id, *arguments))
        if isinstance(told, tuple):
            return told
        if call == "register":
            return ("registered",)
        names = ("abandoned", "pending_drain", "transferred", "recovered", "requeued")
        counts = {f"inputs_{name}": getattr(told, f"inputs_{name}", None) for name in names}
        return ("report", {name: count for name, count in counts.items() if count is not None})

    def tell(self, instruction: Instruction) -> None:
        """Have the run in hand do something. For puppets."""
        if self.puppet is not None:
            self.puppet.tell(instruction)
        self.sim.run()

    def let_go(self) -> None:
        """End a run that is over for its runtime: what it says comes too late."""
        run_id = None if self.puppet is None else self.puppet.run_id
        if run_id is not None:
            self.tell(lambda _: RunOutput())
            self.happened[:] = [each for each in self.happened if each.run_id != run_id]

    def crash(self) -> None:
        """Kill the process, and open the store in the next one."""
        self.sim.kill()
        self.happened.clear()
        self._open()
        self.sim.run()

    def wait(self, seconds: float = A_BACK_OFF_S) -> None:
        """Let time pass."""
        self.sim.skip(seconds)

    # --- faults -------------------------------------------------------------------------

    def fail_next_commit(self, when: When) -> None:
        """Have the next commit fail, before or after it was done."""
        self._fault = StoreFault(when)

    def has_failed(self) -> bool:
        """Has it? Whether or not, none is going to fail from now on."""
        failed, self._fault = self._fault is None, None
        return failed

    def _plan(self, _call: StoreCall) -> StoreFault | None:
        fault, self._fault = self._fault, None
        return fault

    # --- looking ------------------------------------------------------------------------

    def memory(self) -> RuntimeMemory | None:
        """What is in memory of the runtime, if it is."""
        return next(iter(self.sim.memories()), None)

    def state(self) -> str:
        """The runtime's state, or the code of the refusal to say it."""
        told = self.ask(lambda: self.plane.runtime_state(self.runtime_id))
        return str(told[1]) if isinstance(told, tuple) else str(told)

    def active(self) -> list[str]:
        """The inputs that have not ended, as the plane lists them."""
        told = self.ask(lambda: self.plane.active_input_ids(self.runtime_id))
        return list(map(str, told))
