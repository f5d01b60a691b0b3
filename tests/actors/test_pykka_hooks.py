"""Pykka's hooks: the underscore names that the pool is built on are what it takes them for."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S
from pykka._envelope import Envelope

from actors.contained import Contained, ContainedActor
from actors.pool import ActorPool, PooledActor
from actors.threaded import ThreadedActor

HOOKS = {
    "_create_actor_inbox": "()",
    "_create_future": "()",
    "_start_actor_loop": "(self)",
    "_actor_loop": "(self)",
    "_stop": "(self)",
    "_handle_receive": "(self, message)",
}


def parameters(function: Any) -> str:
    signature = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(bare))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_the_signature_that_the_pool_relies_on(name: str) -> None:
    assert parameters(getattr(pykka.Actor, name)) == HOOKS[name]
    assert name in vars(pykka.Actor)


@pytest.mark.parametrize("name", ["_create_actor_inbox", "_create_future"])
def test_these_hooks_are_static(name: str) -> None:
    assert isinstance(vars(pykka.Actor)[name], staticmethod)
    assert isinstance(vars(PooledActor)[name], staticmethod)


def test_the_pool_overrides_every_hook_but_those_it_calls_or_has_no_use_for() -> None:
    assert set(HOOKS) - set(vars(PooledActor)) == {"_handle_receive", "_actor_loop"}


def test_a_threaded_actor_leaves_its_thread_to_pykka_and_what_runs_on_it_to_us() -> None:
    assert set(HOOKS) & set(vars(ThreadedActor)) == {"_start_actor_loop", "_actor_loop"}
    assert parameters(vars(pykka.ThreadingActor)["_start_actor_loop"]) == "(self)"
    started = inspect.getsource(pykka.ThreadingActor._start_actor_loop)
    assert "target=self._actor_loop" in started
    assert "self.use_daemon_thread" in started
    assert "_actor_loop" not in vars(pykka.ThreadingActor)


def test_a_contained_actor_is_started_by_pykka_and_run_by_us() -> None:
    own = {"_start_actor_loop", "_actor_loop", "_stop"}
    assert set(HOOKS) & set(vars(Contained)) == own
    assert "_create_actor_inbox" in vars(ContainedActor)


def test_the_registry_is_a_list_under_a_lock_in_the_order_of_the_starts() -> None:
    registry = pykka.ActorRegistry
    assert type(registry._actor_refs) is list
    with registry._actor_refs_lock:
        assert registry._actor_refs == registry.get_all()
    assert "reversed(cls.get_all())" in inspect.getsource(registry.stop_all)


def test_no_other_module_uses_an_underscore_name_of_pykka() -> None:
    names = set(HOOKS) - {"_stop"}  # a name that others may have as well
    for path in Path(inspect.getfile(PooledActor)).parent.rglob("*.py"):
        used = {name for name in names if re.search(rf"\b{name}\b", path.read_text())}
        if path.name not in ("pool.py", "threaded.py", "contained.py"):
            assert not used, f"{path.name} uses {used}"


def test_an_inbox_is_what_pykka_asks_for() -> None:
    inbox: Any = PooledActor._create_actor_inbox()
    assert parameters(inbox.put) == "(item, /)"
    assert parameters(inbox.get) == "()"
    assert parameters(inbox.empty) == "()"


def test_an_envelope_holds_a_message_and_whom_to_answer() -> None:
    future = pykka.ThreadingFuture[int]()
    envelope = Envelope("message", reply_to=future)
    assert (envelope.message, envelope.reply_to) == ("message", future)
    assert Envelope("message").reply_to is None


class Echo(PooledActor):
    """Answers with what it is told, and notes what came too late."""

    def __init__(self, pool: ActorPool) -> None:
        super().__init__(pool)
        self.told: list[Any] = []
        self.late: list[Any] = []
        self.failed: list[Any] = []
        self.stopped = threading.Event()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        self.told.append(message)
        return message

    def on_stop(self) -> None:
        self.stopped.set()

    def on_message_failed(self, message: Any, error: BaseException) -> None:
        self.failed.append(error)

    def on_dead_letter(self, message: Any) -> None:
        self.late.append(message)


def started(pool: ActorPool) -> tuple[Echo, pykka.ActorRef[Echo]]:
    actor = Echo(pool)
    actor._start_actor_loop()
    return actor, actor.actor_ref


def test_a_pooled_actor_is_an_ordinary_one_to_its_callers() -> None:
    pool = ActorPool(2)
    pool.start()
    actor, ref = started(pool)
    for number in range(200):  # more than one turn
        ref.tell(number)
    assert ref.ask("last", timeout=WAIT_S) == "last"
    assert actor.told == [*range(200), "last"]
    for error in (ValueError("x"), SystemExit(1), KeyboardInterrupt()):
        ref.tell(error)
        with pytest.raises(type(error)):
            ref.ask(error, timeout=WAIT_S)
        assert actor.failed.pop() is error
    assert ref.is_alive()
    assert ref.stop(timeout=WAIT_S)
    assert actor.stopped.is_set()
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("late")
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("late", timeout=WAIT_S)
    pool.stop(WAIT_S)


def test_a_turn_that_cannot_be_prepared_is_taken_all_the_same() -> None:
    class Unprepared(Echo):
        def before_turn(self, mail: Sequence[Any]) -> None:
            raise SystemExit(len(mail))

    pool = ActorPool(1)
    actor = Unprepared(pool)
    for number in range(3):  # they wait when the turn begins
        actor.actor_ref.tell(number)
    pool.start()
    assert actor.actor_ref.ask("last", timeout=WAIT_S) == "last"
    assert actor.told == [0, 1, 2, "last"]
    assert pool.stop(WAIT_S)


def test_what_was_not_handled_before_the_end_is_passed_on() -> None:
    pool = ActorPool(1)
    actor, ref = started(pool)
    ref.tell(1)
    stopped = ref.stop(block=False)
    ref.tell(2)
    answer = ref.ask(3, block=False)
    pool.start()
    assert stopped.get(timeout=WAIT_S)
    with pytest.raises(pykka.ActorDeadError):
        answer.get(timeout=WAIT_S)
    assert (actor.told, actor.late) == ([1], [2])
    actor._inbox.put(Envelope(4))  # one that raced the end
    assert actor.late == [2, 4]
    pool.stop(WAIT_S)


def test_the_ends_of_drivers_stay_out_of_pykkas_registry() -> None:
    pool = ActorPool(1)
    pool.start()
    before = pykka.ActorRegistry.get_all()
    ref = Echo.start(pool)
    assert pykka.ActorRegistry.get_all() == before
    ref.stop(timeout=WAIT_S)
    assert pykka.ActorRegistry.get_all() == before
    pool.stop(WAIT_S)


def test_a_pooled_actor_has_what_pykkas_own_start_gives_an_actor() -> None:
    class Plain(pykka.ThreadingActor):
        """Is never started."""

    plain, pooled = Plain(), Echo(ActorPool(1))
    assert [name for name in vars(plain) if not hasattr(pooled, name)] == []
    assert pooled.actor_ref.is_alive()
    pooled.actor_stopped.set()
    assert pooled.actor_stopped.is_set()
    assert not pooled.actor_ref.is_alive()
    assert pooled.actor_urn != Echo(ActorPool(1)).actor_urn
