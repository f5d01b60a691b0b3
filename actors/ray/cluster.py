"""Cluster: all that is asked of Ray: to place shards, to find them, to call them, to end them.

Ray restarts a shard whose process or node has gone, for ever, and repeats no call: whether one
may be repeated is known by who made it. A shard that somebody has killed for good is placed anew
by the front door that has placed it, and one that hangs is killed by it, to be started again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

import ray
from attrs import frozen
from ray import cloudpickle
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from actors.clock import Clock, SystemClock
from actors.light import LightEvent
from actors.ray.looks import ShardLook
from actors.ray.remote import ShardAway, ShardNotMade
from actors.ray.shard import POLL_S, ShardPlan, ShardProcess
from actors.ray.silence import Silence
from actors.ray.wire import Call, Numbered, Welcome
from actors.stopping import ShutdownReport
from meerkat.errors import ControlPlaneStopped, StoreError

logger = logging.getLogger(__name__)

NAMESPACE: Final = "meerkat"
"""The namespace of Ray that all shards are in: they are found by name from every job."""

_PAUSE_S: Final = 0.05
"""How often it is looked whether a name is free."""

NAME_FREE_S: Final = 10.0
"""How long the name of a shard that has just ended may still be taken."""

OPTIONS: Final[Mapping[str, Any]] = {"num_cpus": 0, "scheduling_strategy": "SPREAD"}
"""Where shards are placed, unless the host says: on as many nodes as there are, and whatever
else is there, so that one whose node has gone comes back on any other."""

_OURS: Final = frozenset({
    "get_if_exists", "max_restarts", "max_task_retries", "name", "namespace", "lifetime",
})  # fmt: skip
"""What is not the host's to say."""


_NAMES_AN_ERROR: Final = re.compile(r"[A-Za-z_][\w.]*: ")
"""How a traceback has the line that says what was raised."""


class _PlacedShard(ShardProcess):
    """A shard as Ray starts it, and starts it again."""

    def __init__(self, packed: bytes) -> None:
        super().__init__(
            partial(_plan_of, packed),
            loads=cloudpickle.loads,
            node=ray.get_runtime_context().get_node_id(),
        )


def _plan_of(packed: bytes) -> ShardPlan:
    """The plan, as the front door has packed it; its executor is imported here."""
    return cast("ShardPlan", cloudpickle.loads(packed))


def dumps(executor: Any) -> bytes:
    """The bytes of what a host gives a shard; TypeError for what cannot be sent."""
    try:
        return cast("bytes", cloudpickle.dumps(executor))
    except Exception as error:
        raise TypeError(f"it cannot be sent to a shard: {error}") from error


def connect() -> bool:
    """Use the cluster that this process is connected to, or connect it as Ray itself would.

    That is to the one that ``RAY_ADDRESS`` names, or that runs on this machine, or to a new one
    on this machine alone. Says whether it was not connected before.
    """
    if ray.is_initialized():
        return False
    ray.init()
    return True


def disconnect() -> None:
    """Leave the cluster, and end it where it was started for this process."""
    ray.shutdown()


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The host's options of Ray's for each shard; ValueError for what is not its to say."""
    for each in options:
        if each in _OURS:
            raise ValueError(f"ray_options do not take {each}: the shards need it as it is")
    return {**OPTIONS, **options}


@frozen(kw_only=True)
class Placing:
    """How one shard is placed."""

    plan: bytes
    options: Mapping[str, Any]
    detached: bool
    silent_max_s: float | None
    """How long it may give no answer until it is taken to hang; None for ever."""

    def place(self, name: str) -> Any:
        """Have Ray start it; ActorAlreadyExistsError where the name is taken."""
        placed: Any = ray.remote(_PlacedShard)
        options = dict(
            self.options,
            name=name,
            namespace=NAMESPACE,
            max_restarts=-1,
            max_task_retries=0,
            lifetime="detached" if self.detached else "non_detached",
        )
        return placed.options(**options).remote(self.plan)


class RayShard:
    """A shard, as a front door reaches it. Thread-safe.

    ``placing`` says how it is placed anew, should it be gone for good; without it, it is looked
    for under its name.
    """

    def __init__(
        self, name: str, client: str, placing: Placing | None, *, clock: Clock | None = None
    ) -> None:
        self.name = name
        self._clock = clock or SystemClock()
        self._silence = Silence(None if placing is None else placing.silent_max_s)
        self._client = client
        self._placing = placing
        self._lock = threading.Lock()
        self._handle: Any = None
        self._ended = False

    # --- calls --------------------------------------------------------------------------

    def hello(self, token: str | None, first: int) -> Welcome:
        """Greet it."""
        return cast("Welcome", self._ask("hello", self._client, token, first))

    def take(self, token: str, calls: tuple[Call, ...]) -> bool:
        """Send calls."""
        return cast("bool", self._ask("take", self._client, token, calls))

    def poll(self, token: str, through: int) -> tuple[Numbered, ...] | None:
        """Ask for what is new."""
        told = self._ask("poll", self._client, token, through, wait_s=POLL_S)
        return cast("tuple[Numbered, ...] | None", told)

    def stop(self, *, drain: bool, timeout_s: float, within_s: float) -> ShutdownReport:
        """Have it stop, and wait for its report for so long."""
        report = self._ask("stop", drain, timeout_s, within_s=within_s)
        return cast("ShutdownReport", report)

    def hurry(self) -> None:
        """Have its stop wait for no run."""
        self._ask("hurry")

    def look(self) -> ShardLook:
        """Where it runs, and how."""
        return cast("ShardLook", self._ask("look"))

    def end(self) -> None:
        """End its process, for good. Raises nothing."""
        with self._lock:
            self._ended = True
            handle, self._handle = self._handle, None
        if handle is not None and ray.is_initialized():
            _quietly(partial(ray.kill, handle, no_restart=True))

    def let_go(self) -> None:
        """The same, but for one that another front door has placed: that one goes on."""
        if self._placing is None:
            with self._lock:
                self._ended = True
        else:
            self.end()

    def _ask(
        self, method: str, *arguments: Any, wait_s: float = 0.0, within_s: float | None = None
    ) -> Any:
        """Its answer, which it may wait with for ``wait_s``; ShardAway."""
        handle = self._present()
        timeout_s = wait_s + self._silence.call_s if within_s is None else within_s
        try:
            answer = ray.get(getattr(handle, method).remote(*arguments), timeout=timeout_s)
        except GetTimeoutError as error:
            if self._silence.is_too_long(self._clock.monotonic()):
                self._replace(handle)
            raise ShardAway(f"it gave no answer within {timeout_s:g} s") from error
        except (RayError, OSError, ValueError) as error:
            self._silence.ended()
            if isinstance(error, ActorDiedError):
                with self._lock:
                    if self._handle is handle:
                        self._handle = None
            placed_here = self._placing is not None
            raise away_of(self.name, error, placed_here=placed_here) from error
        self._silence.answered(self._clock.monotonic())
        return answer

    def _replace(self, handle: Any) -> None:
        """Have Ray end a shard that hangs, and start it again."""
        logger.error("shard %s is there and gives no answer: it is ended", self.name)
        _quietly(partial(ray.kill, handle, no_restart=False))

    # --- being there --------------------------------------------------------------------

    def _present(self) -> Any:
        """Its handle; ShardAway where it cannot be had just now."""
        with self._lock:
            if self._ended or not ray.is_initialized():
                raise ShardAway("it has ended, or Ray was shut down")
            if self._handle is None:
                self._handle = self._find()
            return self._handle

    def _find(self) -> Any:
        try:
            if self._placing is not None:
                return self._placing.place(self.name)
            return ray.get_actor(self.name, namespace=NAMESPACE)
        except (RayError, ValueError, OSError) as error:
            raise ShardAway(_first_line(error)) from error

    def place(self, pause: LightEvent) -> None:
        """Have it placed, or find it, now; StoreError where another front door has it.

        The name of one that has just ended may be taken for a moment.
        """
        tries = int(NAME_FREE_S / _PAUSE_S)
        for left in reversed(range(tries)):
            try:
                self._present()
            except ShardAway as away:
                if not left and self._placing is None:
                    raise ControlPlaneStopped(f"there is no shard {self.name}: {away}") from away
                if not left:
                    said = f"shard {self.name} runs already, for another front door: {away}"
                    raise StoreError(said) from away
                pause.wait(_PAUSE_S)
            else:
                return


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def away_of(name: str, error: BaseException, *, placed_here: bool) -> ShardAway:
    """What Ray has said of a shard that gives no answer.

    Where it could not be made, that is the last line that names an error; who has not placed it
    waits for who has, and may place it again.
    """
    if placed_here and isinstance(error, ActorDiedError) and error.actor_init_failed:
        named = [line for line in str(error).splitlines() if _NAMES_AN_ERROR.match(line)]
        why = named[-1] if named else _first_line(error)
        return ShardNotMade(f"shard {name} could not be made: {why}")
    return ShardAway(_first_line(error))


def _quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - what is ended may be gone
        logger.info("a shard could not be ended: %s", _first_line(error))


def look_at(shard: RayShard) -> ShardLook:
    """Look at a shard; ControlPlaneStopped where there is none."""
    try:
        return shard.look()
    except ShardAway as away:
        raise ControlPlaneStopped(f"there is no shard {shard.name}: {away}") from away
