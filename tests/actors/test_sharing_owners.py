"""Sharing: who has a runtime, and how it comes into another's hands."""

from __future__ import annotations

import threading
from queue import Empty
from typing import Any

import pytest
from attrs import evolve
from passivation_builders import is_live
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    Puppet,
    decided,
    logged,
    progress,
    prompt,
    result_of,
    steered,
    system_of,
)
from restart_builders import notice
from shared_double import LONG_S, SharedMemory, SharedView, Two

from actors import ControlPlane, NoticeKind, sharing
from actors.clock import SystemClock
from actors.sharing import LOOKS_PER_LEASE
from meerkat import Accepted, LogicalRuntimeId, RuntimeState
from meerkat.errors import OwnedElsewhere, StoreError
from meerkat.outcomes import CompletionKind
from meerkat.shards import Shard
from meerkat.store import Batch, MemoryStore
from meerkat.store.ownership import StoreInUse
from meerkat.store.sharing import Sharing
from meerkat.testing.store_wrapper import StoreWrapper

A = LogicalRuntimeId("a")


class Leaping(SystemClock):
    """The machine's clock, which a test puts forward."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@pytest.fixture
def two(open_plane: OpenPlane) -> Two:
    return Two(open_plane)


# --- it comes to another ------------------------------------------------------------------


def test_work_of_one_that_has_died_is_taken_up_and_its_handles_go_on(two: Two) -> None:
    two.agents[0].hold()
    in_hand = two.q.submit("a", prompt("in hand"))
    waiting = two.q.submit("a", prompt("waiting"))
    two.agents[0].next_call()
    result_of(waiting.accepted)
    two.of_p.die()
    for each in (in_hand, waiting):
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    assert [(each.text, each.attempt) for each in two.agents[1].calls] == [
        ("in hand", 2),
        ("waiting", 1),
    ]
    assert two.database.has("a", two.of_q)


def test_work_of_one_that_is_stopped_is_taken_up(two: Two) -> None:
    two.agents[0].hold()
    handles = [two.q.submit("a", prompt(f"{n}")).completion for n in range(3)]
    two.agents[0].next_call()
    stopping = threading.Thread(target=two.p.stop, kwargs={"timeout": WAIT_S})
    stopping.start()
    two.agents[0].release()
    kinds = {result_of(each).kind for each in handles}
    stopping.join(WAIT_S)
    assert kinds == {CompletionKind.COMPLETED}
    assert two.agents[0].texts + two.agents[1].texts == ["0", "1", "2"]


def test_one_without_work_is_anybodys_on_first_use(two: Two) -> None:
    two.p.stop()
    assert two.q.runtime_state("a", timeout=WAIT_S) is RuntimeState.ATTACHED
    assert two.database.has("a", two.of_q)
    two.q.retire("a", timeout=WAIT_S)


def test_nobody_is_told_what_was_read_before_it_was_claimed(two: Two) -> None:
    """Another process may have had it, and changed it, between a look and the answer."""
    two.p.stop()
    store, third = two.of_q, two.database.view("R")
    third.acquire()
    plain, looks = store.inner.load_runtime, 0

    def meanwhile(runtime_id: LogicalRuntimeId) -> Any:
        nonlocal looks
        looks += 1
        found = plain(runtime_id)
        if looks == 1:
            take(third, RuntimeState.RETIRED)
        return found

    store.load_runtime = meanwhile  # type: ignore[method-assign]
    with pytest.raises(OwnedElsewhere) as refused:
        two.q.retire("a", timeout=WAIT_S)
    assert refused.value.owner == "R"
    third.lose_lease()
    assert two.q.runtime_state("a", timeout=WAIT_S) is RuntimeState.RETIRED
    assert two.q.figures().taken_over == 0


def test_an_input_that_was_too_late_to_be_the_owners_is_offered(two: Two) -> None:
    two.p.stop()
    third = two.database.view("R")
    third.acquire()
    store, plain = two.of_q, two.database.inner.load_runtime
    looks: list[Any] = []

    def meanwhile(runtime_id: LogicalRuntimeId) -> Any:
        found = plain(runtime_id)
        if not looks:
            take(third)
        looks.append(found)
        return found

    store.load_runtime = meanwhile  # type: ignore[method-assign]
    submitted = two.q.submit("a", prompt())
    assert result_of(submitted.accepted).is_accepted
    (offered,) = two.database.inner.load_active_inputs(A)
    assert offered.admission_sequence is None
    third.lose_lease()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED


def take(view: SharedView, state: RuntimeState = RuntimeState.IDLE) -> None:
    """Commit the runtime "a" as another process would."""
    row = view.load_runtime(A)
    assert row is not None
    taken = evolve(row, fence=row.fence + 1, state=state)
    view.commit(Batch(runtime=taken, expected_fence=row.fence))


def test_an_input_does_not_overtake_one_that_is_being_offered(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runtime comes here while the one before it is on its way to where it was."""
    monkeypatch.setattr(sharing, "OWNER_KNOWN_S", 0.0)
    store, plain = two.of_q, two.of_q.offer_many
    stuck, free = threading.Event(), threading.Event()

    def slow(offers: Any, **how: Any) -> Any:
        stuck.set()
        free.wait(WAIT_S)
        return plain(offers, **how)

    store.offer_many = slow  # type: ignore[method-assign]
    first = two.q.submit("a", prompt("first"))
    assert stuck.wait(WAIT_S)
    two.p.stop()
    two.q.wake("a", timeout=WAIT_S)
    assert two.database.has("a", two.of_q)
    second = two.q.submit("a", prompt("second"))
    decided(two.q, "a")
    free.set()
    for each in (first, second):
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    assert two.agents[1].texts == ["first", "second"]


# --- it was taken away --------------------------------------------------------------------


def test_the_commit_of_one_that_was_stopped_meanwhile_is_refused_counted_and_told(
    open_plane: OpenPlane,
) -> None:
    database = SharedMemory()
    puppet, agent = Puppet(), Agent()
    of_p, of_q = database.view("P"), database.view("Q")
    p = open_plane(puppet, store=of_p)
    p.register("a", timeout=WAIT_S)
    watch = p.watch("a", timeout=WAIT_S)
    submitted = p.submit("a", prompt("work"))
    run = puppet.next_run()
    of_p.lose_lease()
    q = open_plane(agent, store=of_q)
    assert agent.next_call().attempt == 2
    run.returns()
    told = notice(watch)
    assert (told.kind, told.reason) == (NoticeKind.ENDED, "taken over by Q")
    ended = result_of(submitted.completion)
    assert (ended.kind, ended.result) == (CompletionKind.COMPLETED, "re: work")
    assert (p.figures().taken_over, q.figures().taken_over) == (1, 0)
    assert p.figures().commit_errors == 1
    with pytest.raises(OwnedElsewhere) as refused:
        p.retire("a", timeout=WAIT_S)
    assert refused.value.owner == "Q"
    assert agent.texts == ["work"]


def test_a_boundary_of_such_a_run_is_refused_too(open_plane: OpenPlane) -> None:
    database = SharedMemory()
    puppet = Puppet()
    of_p, of_q = database.view("P"), database.view("Q")
    p = open_plane(puppet, store=of_p)
    p.register("a", timeout=WAIT_S)
    p.ingest("a", prompt("work"), timeout=WAIT_S)
    run = puppet.next_run()
    p.ingest("a", steered("more"), timeout=WAIT_S)
    boundary = run.does(lambda context: context.boundary())
    assert boundary.texts == ["more"]
    of_p.lose_lease()
    agent = Agent()
    open_plane(agent, store=of_q)
    agent.next_call()
    with pytest.raises(OwnedElsewhere):
        run.does(lambda _: boundary.commit(append=[]))
    run.returns()


def test_an_input_that_was_offered_to_it_goes_to_who_has_the_runtime_now(two: Two) -> None:
    """Its owner of before finds out by this commit; whoever offered it hears nothing of that."""
    two.of_p.lose_lease()
    two.q.runtime_state("a", timeout=WAIT_S)
    submitted = two.p.submit("a", prompt("for Q"))
    assert result_of(submitted.accepted).is_accepted
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    assert two.agents[1].texts == ["for Q"]
    assert two.p.figures().taken_over == 1


@pytest.mark.parametrize("leases", [2, 0.5], ids=["by its clock", "on a host that was suspended"])
def test_a_lease_that_was_over_is_noticed_before_a_commit_is_refused(
    open_plane: OpenPlane, leases: float
) -> None:
    database, clock = SharedMemory(), Leaping()
    puppet, agent = Puppet(), Agent()
    of_p, of_q = database.view("P"), database.view("Q")
    p = open_plane(puppet, store=of_p, clock=clock)
    p.register("a", timeout=WAIT_S)
    submitted = p.submit("a", prompt("work"))
    run = puppet.next_run()
    of_p.lose_lease()
    open_plane(agent, store=of_q)
    assert agent.next_call().attempt == 2
    clock.ahead_s = leases * LONG_S
    of_p.hint()
    assert run.context.cancelled.wait(WAIT_S)
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    assert (p.figures().taken_over, p.figures().commit_errors) == (1, 0)
    run.returns()


def test_a_handle_ends_though_its_runtime_had_left_memory_when_another_took_it(
    open_plane: OpenPlane,
) -> None:
    database, clock = SharedMemory(), Leaping()
    of_p, of_q = database.view("P"), database.view("Q")
    p = open_plane(Agent(), store=of_p, clock=clock)
    p.register("a", timeout=WAIT_S)
    asleep = p.submit("a", progress())
    result_of(asleep.accepted)
    while is_live(p, "a"):
        system_of(p).directory.passivate(clock.monotonic())
    of_p.lose_lease()
    q = open_plane(Agent(), store=of_q)
    q.wake("a", timeout=WAIT_S)
    q.completion("a", result_of(asleep.accepted), timeout=WAIT_S).result(WAIT_S)
    clock.ahead_s = 2 * LONG_S
    of_p.hint()
    assert result_of(asleep.completion).kind is CompletionKind.COMPLETED


def test_what_was_taken_is_given_up_though_the_store_fails_when_it_is_first_asked(
    open_plane: OpenPlane,
) -> None:
    database, clock = SharedMemory(), Leaping()
    puppet, agent = Puppet(), Agent()
    of_p, of_q = database.view("P"), database.view("Q")
    p = open_plane(puppet, store=of_p, clock=clock)
    p.register("a", timeout=WAIT_S)
    p.ingest("a", prompt("work"), timeout=WAIT_S)
    run = puppet.next_run()
    of_p.lose_lease()
    open_plane(agent, store=of_q)
    agent.next_call()
    plain, failures = of_p.owned_elsewhere, [StoreError("away")]

    def asked(runtime_ids: Any) -> Any:
        if failures:
            raise failures.pop()
        return plain(runtime_ids)

    of_p.owned_elsewhere = asked  # type: ignore[method-assign]
    clock.ahead_s = 2 * LONG_S
    of_p.hint()
    assert run.context.cancelled.wait(WAIT_S)
    run.returns()


def test_one_in_whose_place_another_has_come_gives_up_what_it_had(open_plane: OpenPlane) -> None:
    database, clock = SharedMemory(), Leaping()
    puppet, agent = Puppet(), Agent()
    first, second = database.view("P"), database.view("P")
    p = open_plane(puppet, store=first, clock=clock)
    p.register("a", timeout=WAIT_S)
    submitted = p.submit("a", prompt("work"))
    run = puppet.next_run()

    def renew() -> bool:
        raise StoreInUse("another has come as P")

    first.renew = renew  # type: ignore[method-assign]
    open_plane(agent, store=second)
    assert agent.next_call().attempt == 2
    clock.ahead_s = LONG_S / 2  # its lease would not be over yet
    first.hint()
    assert run.context.cancelled.wait(WAIT_S)
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    run.returns()


# --- whose it is to be --------------------------------------------------------------------


def test_a_process_with_a_shard_takes_up_of_itself_what_is_its_shards(
    open_plane: OpenPlane,
) -> None:
    database = SharedMemory()
    first = open_plane(store=database.view("P"))
    names = [f"r-{n}" for n in range(16)]
    first.register_many(names, timeout=WAIT_S)
    for name in names:
        first.ingest(name, prompt(), timeout=WAIT_S)
    first.stop()
    agents = [Agent(), Agent()]
    for number, agent in enumerate(agents):
        shard = Shard(number=number, of=2)
        open_plane(agent, store=database.view(f"S{number}", shard=shard))
    for number, agent in enumerate(agents):
        its = {name for name in names if LogicalRuntimeId(name) in Shard(number=number, of=2)}
        assert {agent.next_call().runtime_id for _ in its} == its


def test_a_successor_of_the_same_name_has_it_at_once(two: Two) -> None:
    two.agents[0].hold()
    two.p.ingest("a", prompt("left over"), timeout=WAIT_S)
    two.agents[0].next_call()
    two.of_q.deaf = True
    agent = Agent()
    again = ControlPlane(two.database.view("P"), agent).start()
    try:
        assert agent.next_call().attempt == 2
    finally:
        again.stop()


def test_one_whose_name_was_taken_offers_what_it_is_asked_to_the_one_that_has_it(
    open_plane: OpenPlane,
) -> None:
    """It can claim nothing any more, and is not to try for ever."""
    database, agents = SharedMemory(), [Agent(), Agent()]
    before, after, third = (database.view(name) for name in ("P", "P", "R"))
    registers = open_plane(store=third)
    registers.register("a", timeout=WAIT_S)
    registers.stop()
    replaced = open_plane(agents[0], store=before)
    open_plane(agents[1], store=after)
    submitted = replaced.submit("a", prompt("for the other"))
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    assert agents[1].texts == ["for the other"]
    with pytest.raises(OwnedElsewhere):
        replaced.retire("a", timeout=WAIT_S)


# --- looking for what is nobody's ---------------------------------------------------------


def looks_of(view: SharedView) -> int:
    return view.looks.qsize()


def test_a_hint_about_an_input_is_no_reason_to_look_for_what_is_nobodys(two: Two) -> None:
    two.agents[0].hold()
    two.q.ingest("a", prompt("first"), timeout=WAIT_S)
    two.agents[0].next_call()
    while not two.of_p.looks.empty():
        two.of_p.looks.get()
    two.database.view("R").acquire()  # others are there than at the last look
    two.of_p.hint()
    two.of_p.looks.get(timeout=WAIT_S)
    for number in range(5):
        two.q.ingest("a", prompt(f"{number}"), timeout=WAIT_S)
        two.of_p.hint()
    decided(two.p, "a")
    assert looks_of(two.of_p) == 0


def test_who_was_late_takes_nothing_up_until_the_others_have_had_time(
    open_plane: OpenPlane,
) -> None:
    """A database that was away has let every lease run out, and nobody has died."""
    database, clock, agent = SharedMemory(), Leaping(), Agent()
    of_p, of_q = database.view("P"), database.view("Q")
    open_plane(agent, store=of_p, clock=clock)
    q = open_plane(Agent(held=True), store=of_q)
    q.register("a", timeout=WAIT_S)
    q.ingest("a", prompt("of Q"), timeout=WAIT_S)
    of_p.lives = of_q.lives = False
    renewed = threading.Event()
    plain = of_p.renew

    def renew() -> bool:
        ran = plain()
        renewed.set()
        return ran

    of_p.renew = renew  # type: ignore[method-assign]
    while not of_p.looks.empty():
        of_p.looks.get()
    clock.ahead_s = 2 * LONG_S
    of_p.hint()
    assert renewed.wait(WAIT_S)
    of_p.hint()
    with pytest.raises(Empty):
        of_p.looks.get(timeout=0.1)
    assert agent.texts == []
    clock.ahead_s += LONG_S / LOOKS_PER_LEASE
    of_p.hint()
    of_p.looks.get(timeout=WAIT_S)
    assert agent.next_call().text == "of Q"


def late(open_plane: OpenPlane) -> tuple[Leaping, SharedView, SharedView, list[Any]]:
    """P, which finds its lease over; and Q, as late, which has "a" and lives."""
    database, clock, agents = SharedMemory(), Leaping(), [Agent(), Agent()]
    of_p, of_q = database.view("P"), database.view("Q")
    p = open_plane(agents[0], store=of_p, clock=clock)
    q = open_plane(agents[1], store=of_q)
    q.register("a", timeout=WAIT_S)
    of_p.lives = of_q.lives = False
    clock.ahead_s = 2 * LONG_S
    return clock, of_p, of_q, [p, q, *agents]


def test_who_was_late_offers_an_input_to_one_that_may_be_as_late(open_plane: OpenPlane) -> None:
    """It lives, and goes on with what it has."""
    _, _, of_q, (p, _, _, agent) = late(open_plane)
    sent = p.submit("a", prompt("for Q"))
    assert isinstance(sent.accepted.result(WAIT_S), Accepted)
    of_q.renew()
    of_q.hint()
    assert agent.next_call().text == "for Q"
    assert sent.completion.result(WAIT_S).kind is CompletionKind.COMPLETED


def test_what_was_offered_to_one_that_has_died_is_taken_up_a_third_of_a_lease_later(
    open_plane: OpenPlane,
) -> None:
    clock, of_p, of_q, (p, _, agent, _) = late(open_plane)
    of_q.die()
    sent = p.submit("a", prompt("for nobody"))
    assert isinstance(sent.accepted.result(WAIT_S), Accepted)
    assert of_p.database.owners[A] is of_q
    clock.ahead_s += LONG_S / LOOKS_PER_LEASE
    of_p.hint()
    assert agent.next_call().text == "for nobody"
    assert sent.completion.result(WAIT_S).kind is CompletionKind.COMPLETED


# --- the rest -----------------------------------------------------------------------------


def test_a_store_that_does_not_answer_for_a_while_is_asked_again(two: Two) -> None:
    refusals = iter([StoreError("away"), StoreError("away")])
    plain = two.of_q.load_ended

    def fails(watched: Any) -> Any:
        for refused in refusals:
            raise refused
        return plain(watched)

    two.of_q.load_ended = fails  # type: ignore[method-assign]
    with logged("a shared store could not be asked: Store error: away") as said:
        submitted = two.q.submit("a", prompt())
        assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
        assert said.is_set()


def test_a_store_that_hangs_keeps_no_stop(open_plane: OpenPlane) -> None:
    database = SharedMemory()
    view = database.view("P")
    plane = open_plane(store=view, grace_s=0.01)
    plane.register("a", timeout=WAIT_S)
    asked, answers = threading.Event(), threading.Event()

    def hangs() -> list[LogicalRuntimeId]:
        asked.set()
        answers.wait(WAIT_S)
        return []

    view.offered = hangs  # type: ignore[method-assign]
    view.hint()
    assert asked.wait(WAIT_S)
    report = plane.stop()
    answers.set()
    assert not report.store_closed


def test_the_thread_ends_with_the_plane(two: Two) -> None:
    names = [each.name for each in threading.enumerate()]
    assert names.count("meerkat-sharing") >= 2
    work = system_of(two.p).sharing
    assert two.p.stop().store_closed
    assert work.stop(0)
    assert not two.of_p.lives


def test_a_store_that_is_one_planes_alone_has_nothing_of_this(open_plane: OpenPlane) -> None:
    plane = open_plane(store=MemoryStore())
    assert system_of(plane).sharing is None
    plane.register("a", timeout=WAIT_S)
    assert plane.figures().commits == 1
    plane.runtime_state("a", timeout=WAIT_S)
    assert plane.figures().commits == 1
    assert LONG_S > WAIT_S


def test_a_store_that_is_shared_and_lacks_a_call_is_not_taken_for_ones_own(
    open_plane: OpenPlane,
) -> None:
    class Lacking(StoreWrapper):
        sharing = Sharing(name="P")

    with pytest.raises(TypeError, match="SharedStore, not Lacking"):
        open_plane(store=Lacking(MemoryStore()))
