"""What is lost on the wire, and what a shard forgets at its end, is asked for or sent again."""

from __future__ import annotations

import threading
from functools import partial
from time import monotonic
from typing import cast

import pytest
from far_builders import FarShard, far_plane
from plane_builders import WAIT_S, Agent, prompt

from actors.clock import SystemClock
from actors.light import LightEvent
from actors.ray import RayControlPlane
from actors.ray.desk import Desk
from actors.ray.errand import Errand
from actors.ray.greetings import Greetings
from actors.ray.line import Line
from actors.ray.owed import Owed
from actors.ray.remote import LineCounts, Remote, ShardAway, ShardNotMade
from actors.ray.wire import BYTES_MAX, CALLS_MAX, Answer, Call, Refusal, Welcome
from actors.replies import Reply
from actors.run_places import RunThreads
from meerkat import Accepted, EventGap, LogicalRuntimeId, RuntimeEventEnvelope, RuntimeState
from meerkat.errors import (
    CallTimedOut,
    CommitUnknown,
    ControlPlaneStopped,
    NotInThisProcess,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.shards import Shard
from meerkat.store import MemoryStore, RuntimeRow


def settled(plane: RayControlPlane) -> None:
    """All that was called before has been answered, and what came with it was heard."""
    plane.runtime_state("a", timeout=WAIT_S)


@pytest.mark.parametrize("method", ["take", "poll"])
def test_an_answer_that_is_lost_is_told_again_and_no_call_is_made_twice(method: str) -> None:
    agent = Agent()
    with far_plane(MemoryStore, agent) as (plane, shards):
        plane.register("a")
        for number in range(20):
            shards[0].loses_answer_of(method)
            outcome = plane.ingest("a", prompt(str(number)), timeout=WAIT_S)
            assert isinstance(outcome, Accepted)
            assert plane.completion("a", outcome).result(WAIT_S).result == f"re: {number}"
        assert agent.texts == [str(number) for number in range(20)]
        wire = plane.wire_figures()
        assert (wire.restarts, wire.again, wire.unknown) == (0, 0, 0)


def test_a_desk_takes_each_call_once_and_tells_until_it_is_told_that_it_arrived() -> None:
    rung: list[int] = []
    desk = Desk("token", 5, lambda: rung.append(1))
    calls = [Call(number, "wake", b"") for number in range(4, 9)]
    assert [call.number for call in desk.new_ones(calls[:3])] == [5, 6]
    assert [call.number for call in desk.new_ones(calls)] == [7, 8]
    assert desk.new_ones(calls) == []
    for number in (5, 6, 7):
        desk.tell(Answer(number, None))
    assert [told[1] for told in desk.told(0)] == [5, 6, 7]
    assert [told[1] for told in desk.told(0)] == [5, 6, 7]
    assert [told[1] for told in desk.told(2)] == [7]
    assert (desk.told(3), desk.waiting, len(rung)) == ((), 0, 3)


def test_what_a_shard_refuses_because_it_stops_is_for_who_takes_its_place() -> None:
    owed, errand = Owed(LineCounts()), Errand("wake", None, b"", Reply(), number=1)
    owed.sent(errand)
    assert owed.hear(Refusal(1, ControlPlaneStopped()), 0.0) is None
    assert owed.take() == ([errand], [])
    owed.sent(errand)
    owed.last = True
    tell = owed.hear(Refusal(1, ControlPlaneStopped()), 0.0)
    assert tell is not None
    tell()
    assert isinstance(errand.reply.exception(), ControlPlaneStopped)
    assert owed.take() == ([], [])


def test_what_one_answer_carries_is_bounded() -> None:
    desk = Desk("token", 1, lambda: None)
    for number in range(CALLS_MAX + 1):
        desk.tell(Answer(number, None))
    assert len(desk.told(0)) == CALLS_MAX
    assert len(desk.told(CALLS_MAX)) == 1
    for number in range(4):
        desk.tell(Answer(number, "x" * (BYTES_MAX // 2)))
    assert [len(desk.told(CALLS_MAX + 1 + told)) for told in range(4)] == [1, 1, 1, 1]


def lost_with_its_shard(shard: FarShard) -> None:
    """The next call is carried out, and its shard ends before it can say so."""
    shard.loses_answer_of("poll", shard.crash_and_come_back)


def test_an_input_that_was_accepted_by_who_is_gone_is_told_as_accepted() -> None:
    store, agent = MemoryStore(), Agent(held=True)
    with far_plane(lambda: store, agent) as (plane, shards):
        plane.register("a")
        lost_with_its_shard(shards[0])
        offered = prompt("once", idempotency_key="once")
        sent = plane.submit("a", offered)
        agent.release()
        outcome = sent.accepted.result(WAIT_S)
        assert isinstance(outcome, Accepted)
        assert outcome.input_id == offered.id
        assert sent.completion.result(WAIT_S).result == "re: once"
        assert plane.wire_figures().restarts == 1


@pytest.mark.parametrize("rounds", [8])
def test_every_handle_ends_with_the_true_outcome_however_often_the_shard_ends(
    rounds: int,
) -> None:
    stores: dict[int, MemoryStore] = {0: MemoryStore(), 1: MemoryStore()}
    made = iter(stores.values())
    with far_plane(lambda: next(made), Agent(), shards=2) as (plane, shards):
        names = [f"agent-{number}" for number in range(10)]
        plane.register_many(names)
        sent = []
        for turn in range(rounds):
            sent += [(name, turn, plane.submit(name, prompt(f"{name}/{turn}"))) for name in names]
            shards[turn % 2].crash_and_come_back()
        for name, turn, each in sent:
            assert isinstance(each.accepted.result(WAIT_S), Accepted)
            assert each.completion.result(WAIT_S).result == f"re: {name}/{turn}"
        for name in names:
            ids = [each.accepted.result(0) for other, _, each in sent if other == name]
            states = [plane.input_state(name, each.input_id) for each in ids]  # type: ignore[attr-defined]
            assert [state.admission_sequence for state in states if state] == list(range(rounds))


def test_a_call_that_is_not_to_be_made_twice_ends_as_unknown() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a")
        lost_with_its_shard(shards[0])
        with pytest.raises(CommitUnknown, match="destroy"):
            plane.destroy("a", timeout=WAIT_S)
        assert plane.wire_figures().unknown == 1
        assert plane.runtime_state("a", timeout=WAIT_S) is RuntimeState.DESTROYED


def test_an_ephemeral_input_is_never_offered_twice() -> None:
    store, agent = MemoryStore(), Agent()
    with far_plane(lambda: store, agent) as (plane, shards):
        plane.register("a")
        lost_with_its_shard(shards[0])
        sent = plane.submit("a", prompt("once", durability="ephemeral"))
        with pytest.raises(CommitUnknown):
            sent.accepted.result(WAIT_S)
        with pytest.raises(CommitUnknown):
            sent.completion.result(WAIT_S)
        assert agent.texts in ([], ["once"])


def test_an_ephemeral_input_that_waits_ends_with_its_shard() -> None:
    store, agent = MemoryStore(), Agent()
    with far_plane(lambda: store, agent) as (plane, shards):
        plane.register("a")
        plane.pause("a")
        sent = plane.submit("a", prompt("gone", durability="ephemeral"))
        assert isinstance(sent.accepted.result(WAIT_S), Accepted)
        shards[0].crash_and_come_back()
        ended = sent.completion.result(WAIT_S)
        assert ended.reason == "ephemeral input lost with its process"


def test_what_was_not_sent_yet_waits_for_the_shard() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a")
        shards[0].crash()
        sent = [plane.submit("a", prompt(str(number))) for number in range(5)]
        shards[0].comes_back()
        assert [each.completion.result(WAIT_S).result for each in sent] == [
            f"re: {number}" for number in range(5)
        ]
        assert plane.reset("a", timeout=WAIT_S).inputs_abandoned == 0


def test_events_go_on_behind_the_last_one_with_a_gap_where_some_are_gone() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a")
        feed, every = plane.subscribe("a", timeout=WAIT_S), plane.subscribe(timeout=WAIT_S)
        plane.ingest("a", prompt("one"), timeout=WAIT_S)
        first = feed.next_within(WAIT_S)
        assert isinstance(first, RuntimeEventEnvelope)
        shards[0].crash_and_come_back()
        plane.ingest("a", prompt("two"), timeout=WAIT_S)
        told, last = [first], first.sequence
        while not any(isinstance(item, EventGap) for item in told):
            told.append(feed.next_within(WAIT_S))  # type: ignore[arg-type]
        gap = told[-1]
        before = [item.sequence for item in told if isinstance(item, RuntimeEventEnvelope)]
        assert isinstance(gap, EventGap)
        assert before == list(range(last, last + len(before)))
        assert gap.requested == before[-1]
        behind = feed.next_within(WAIT_S)
        assert isinstance(behind, RuntimeEventEnvelope)
        assert behind.sequence == gap.dropped_through + 1
        lost = []
        while not isinstance(item := every.next_within(WAIT_S), EventGap):
            lost.append(item)
        assert item == EventGap(requested=0, dropped_through=0, watermark=0)


@pytest.mark.parametrize("call", ["subscribe", "watch"])
def test_a_feed_goes_on_though_the_store_is_away_when_it_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a")
        feed = getattr(plane, call)("a", timeout=WAIT_S)
        load, refusals = store.load_runtime, [StoreError("away")]

        def refused(runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
            if refusals:
                raise refusals.pop()
            return load(runtime_id)

        monkeypatch.setattr(store, "load_runtime", refused)
        shards[0].crash_and_come_back()
        while refusals:
            assert not feed.closed
            feed.next_within(0.01)
        plane.ingest("a", prompt(), timeout=WAIT_S)
        if call == "watch":
            plane.destroy("a", timeout=WAIT_S)
        assert feed.next_within(WAIT_S) is not None
        assert not refusals


def test_a_shard_that_cannot_open_is_waited_for_and_says_why() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a")
        shards[0].crash()
        shards[0].plan.troubles += [StoreError("the server is away")] * 3
        shards[0].comes_back()
        outcome = plane.ingest("a", prompt(), timeout=WAIT_S)
        assert isinstance(outcome, Accepted)


def test_a_plane_that_ends_by_itself_is_opened_again_in_its_process() -> None:
    store = MemoryStore()
    with far_plane(lambda: store, Agent()) as (plane, shards):
        plane.register("a")
        process = shards[0].process
        assert process is not None
        assert process._plane is not None
        process._plane.stop()
        assert isinstance(plane.ingest("a", prompt(), timeout=WAIT_S), Accepted)
        assert plane.shards()[0].openings == 2
        assert plane.wire_figures().restarts == 1


def test_whoever_waits_for_news_of_a_plane_that_has_ended_greets_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.ray.shard.POLL_S", 10 * WAIT_S)
    store, agent = MemoryStore(), Agent(held=True)
    with far_plane(lambda: store, agent, grace_s=0.05) as (plane, shards):
        plane.register("a")
        sent = plane.submit("a", prompt("once"))
        agent.next_call()
        process = shards[0].process
        assert process is not None
        assert process._plane is not None
        process._plane.stop(timeout=0)
        agent.release()
        assert sent.completion.result(WAIT_S).result == "re: once"


def test_a_handle_of_a_runtime_that_is_set_aside_waits_until_it_is_brought_back() -> None:
    store, agent = MemoryStore(), Agent()
    with far_plane(lambda: store, agent) as (plane, shards):
        plane.register("a")
        plane.pause("a")
        sent = plane.submit("a", prompt("kept"))
        sent.accepted.result(WAIT_S)
        refusals = [RuntimeUnavailable("a", "spoiled")]
        load = MemoryStore.load_active_inputs

        def spoiled(self: MemoryStore, runtime_id: object) -> object:
            if refusals:
                raise StoreError(str(refusals.pop()))
            return load(self, runtime_id)  # type: ignore[arg-type]

        MemoryStore.load_active_inputs = spoiled  # type: ignore[method-assign,assignment]
        try:
            shards[0].crash_and_come_back()
            while refusals:
                plane.shards()
        finally:
            MemoryStore.load_active_inputs = load  # type: ignore[method-assign]
        plane.recover("a", timeout=WAIT_S)
        plane.resume("a", timeout=WAIT_S)
        assert sent.completion.result(2 * WAIT_S).result == "re: kept"


# --- regrouping -------------------------------------------------------------------------


def test_the_runtimes_are_divided_anew_and_nothing_is_lost() -> None:
    store, agent = MemoryStore(), Agent()
    with far_plane(lambda: store, agent) as (plane, _):
        plane.register("a")
        feed = plane.subscribe("a", timeout=WAIT_S)
        agent.hold()
        sent = [plane.submit("a", prompt(str(number))) for number in range(6)]
        agent.next_call()
        agent.release()
        for count in (1, 1):
            plane.reshard(shards=count, timeout=WAIT_S)
        assert [each.completion.result(WAIT_S).kind.value for each in sent] == ["completed"] * 6
        assert len(plane.shards()) == 1
        settled(plane)
        numbers = []
        while (item := feed.next_within(0.2)) is not None:
            if isinstance(item, RuntimeEventEnvelope):
                numbers.append(item.sequence)
        assert numbers == sorted(set(numbers))


def test_calls_that_come_while_the_shards_are_changed_are_answered_by_the_new_ones() -> None:
    made: list[MemoryStore] = []

    def store() -> MemoryStore:
        made.append(MemoryStore())
        return made[-1]

    with far_plane(store, Agent(), shards=2) as (plane, shards):
        old = list(shards)
        plane.reshard(shards=3, timeout=WAIT_S)
        assert [shard.ended for shard in old] == [True, True]
        assert len(plane.shards()) == 3
        plane.register_many([f"agent-{number}" for number in range(12)], timeout=WAIT_S)
        assert all(shard.taken.qsize() for shard in shards)
        every = plane.subscribe(timeout=WAIT_S)
        plane.reshard(shards=1, timeout=WAIT_S)
        assert isinstance(every.next_within(WAIT_S), EventGap)


def test_what_is_owed_is_kept_where_the_new_shards_do_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, agent = MemoryStore(), Agent(held=True)
    with far_plane(lambda: store, agent, grace_s=0.05) as (plane, _):
        plane.register("a")
        sent = [plane.submit("a", prompt(str(number))) for number in range(3)]
        agent.next_call()
        agent.release()
        place, refused = FarShard.place, [StoreError("the name is taken")]

        def taken(shard: FarShard, pause: LightEvent) -> None:
            if refused:
                raise refused.pop()
            place(shard, pause)

        monkeypatch.setattr(FarShard, "place", taken)
        with pytest.raises(StoreError, match="taken"):
            plane.reshard(shards=1, timeout=WAIT_S)
        late = plane.submit("a", prompt("late"))
        plane.reshard(shards=1, timeout=WAIT_S)
        kinds = [each.completion.result(WAIT_S).kind.value for each in [*sent, late]]
        assert kinds == ["completed"] * 4


def test_what_is_owed_ends_with_a_stop_where_the_new_shards_do_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with far_plane(MemoryStore, Agent(held=True), grace_s=0.05) as (plane, _):
        plane.register("a")
        sent = plane.submit("a", prompt())
        sent.accepted.result(WAIT_S)

        def taken(shard: FarShard, pause: LightEvent) -> None:
            raise StoreError("the name is taken")

        monkeypatch.setattr(FarShard, "place", taken)
        monkeypatch.setattr("actors.ray.life.STOP_TIMEOUT_S", 0.0)
        with pytest.raises(StoreError, match="taken"):
            plane.reshard(shards=1, timeout=WAIT_S)
        plane.stop()
        assert sent.completion.result(WAIT_S).reason == "control plane stopped"


# --- more than one front door -------------------------------------------------------------


def test_who_has_not_placed_the_shards_does_not_divide_them_and_ends_none() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, shards):
        plane.register("a")
        plane._shards._shards = None  # as of one that was wrapped
        with pytest.raises(NotInThisProcess, match="placed them"):
            plane.reshard(shards=2, timeout=WAIT_S)
        settled(plane)
        assert not shards[0].ended


def test_a_front_door_that_hears_of_anothers_stop_leaves_the_shards_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By then others may go by their names: another front door has divided the runtimes anew."""
    stopped: list[FarShard] = []
    monkeypatch.setattr("actors.ray.life.LAST_WORDS_S", 0.1)
    monkeypatch.setattr(FarShard, "let_go", lambda _: None)  # another one has placed it
    with far_plane(MemoryStore, Agent(held=True), shards=2, grace_s=0.1) as (plane, shards):
        plane.register_many([f"agent-{number}" for number in range(4)], timeout=WAIT_S)
        sent = [plane.submit(f"agent-{number}", prompt()) for number in range(4)]
        for each in sent:
            each.accepted.result(WAIT_S)
        monkeypatch.setattr(FarShard, "stop", lambda self, **_: stopped.append(self))
        shards[0]._ask("stop", False, 0.0)
        for each in sent:
            assert each.completion.result(WAIT_S).reason == "control plane stopped"
        plane.stop(timeout=WAIT_S)
        assert stopped == []
        assert not any(shard.ended for shard in shards)


# --- what a line keeps ----------------------------------------------------------------------


def test_a_feed_that_is_closed_is_kept_nowhere() -> None:
    with far_plane(MemoryStore, Agent()) as (plane, _):
        plane.register("a")
        for _ in range(3):
            plane.subscribe("a", timeout=WAIT_S).close()
            plane.watch("a", timeout=WAIT_S).close()
            plane.subscribe(timeout=WAIT_S).close()
        settled(plane)
        (line,) = plane._shards.board._lines
        assert line._owed._going_on == {}


def test_what_is_owed_is_asked_for_in_the_order_of_the_calls() -> None:
    """Whether the shard has refused it because it stopped, or has not answered at all."""
    line = Line(
        cast("Remote", None),
        threads=RunThreads(),
        clock=SystemClock(),
        welcomed=lambda _: None,
        ended=lambda: None,
        away=lambda _: None,
    )
    a, calls = LogicalRuntimeId("a"), [b"first", b"second", b"third"]
    line.put(*(Errand("ingest", a, each, Reply()) for each in calls))
    second = line._next_batch()[1]
    line._owed.hear(Refusal(second.number, ControlPlaneStopped()), 0.0)
    owed = line.end()
    assert [(each.arguments, each.again) for each in owed] == [
        (b"first", True),
        (b"second", False),
        (b"third", True),
    ]


class NeverThere:
    """A shard that cannot be made; how often it was greeted, until it was enough."""

    def __init__(self, whys: list[str]) -> None:
        self.whys = whys
        self.enough = threading.Event()

    def hello(self, *_: object) -> Welcome:
        if len(self.whys) == 1:
            self.enough.set()
        raise ShardAway(self.whys.pop(0) if len(self.whys) > 1 else self.whys[0])


def test_why_a_shard_is_away_is_logged_once_and_is_what_a_start_fails_with(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.ray.line.PAUSES_S", (0.001, 0.001))
    making = "it is being made"
    remote = NeverThere([making, "No module named 'a'", making, making])
    greetings = Greetings()
    line = Line(
        cast("Remote", remote),
        threads=RunThreads(),
        clock=SystemClock(),
        welcomed=partial(greetings.came, 0),
        ended=lambda: None,
        away=partial(greetings.is_away, 0),
    )
    line.start()
    assert remote.enough.wait(WAIT_S)
    with pytest.raises(CallTimedOut, match="start") as refused:
        greetings.wait(1, 0.001, "start", patient=False)
    assert str(refused.value.__cause__) == making
    line.end()
    line.wait_until_left(WAIT_S)
    assert [record.getMessage() for record in caplog.records] == [
        "a shard does not answer: it is being made",
        "a shard does not answer: No module named 'a'",
    ]


def test_a_shard_that_could_not_be_made_is_why_a_start_fails_at_once() -> None:
    greetings = Greetings()
    away = ShardNotMade("shard a could not be made: No module named 'a'")
    soon = threading.Timer(0.05, greetings.is_away, (0, away))
    soon.start()
    began = monotonic()
    with pytest.raises(StoreError, match="No module named 'a'"):
        greetings.wait(1, WAIT_S, "start", patient=False)
    assert monotonic() - began < WAIT_S
    soon.join()


def welcome(*, opened: bool, trouble: StoreError | None = None) -> Welcome:
    return Welcome(token="", shard=Shard(number=0, of=2), opened=opened, trouble=trouble)


def test_what_one_shard_had_and_got_over_is_no_reason_for_another() -> None:
    greetings = Greetings()
    greetings.is_away(0, ShardNotMade("shard a could not be made"))
    greetings.came(0, welcome(opened=True))
    greetings.is_away(1, ShardAway("its node is slow"))
    with pytest.raises(CallTimedOut) as refused:
        greetings.wait(2, 0.01, "start", patient=False)
    assert str(refused.value.__cause__) == "its node is slow"


def test_the_trouble_of_a_shard_keeps_its_own_cause() -> None:
    greetings = Greetings()
    greetings.is_away(1, ShardAway("its node is slow"))
    trouble = StoreError("the password is wrong")
    trouble.__cause__ = OSError("the true reason")
    greetings.came(0, welcome(opened=False, trouble=trouble))
    with pytest.raises(StoreError, match="password") as refused:
        greetings.wait(2, WAIT_S, "start", patient=False)
    assert isinstance(refused.value.__cause__, OSError)
