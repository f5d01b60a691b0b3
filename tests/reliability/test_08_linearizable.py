"""Eight callers at once: what each runtime answers is what one caller after the other could see.

Rounds of calls go to a few fresh runtimes of one plane, while threads change places every
microsecond, runtimes leave memory and come back, and some callers lose patience. The history
of each runtime is checked against ``runtime_model`` by ``linearizability``, which says how.
A round draws the same calls again whenever it has the same number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from concurrent_rounds import CALLERS, RUNTIMES, WAIT_S, Round, work
from linearizability import Call, anomaly_in
from runtime_model import Answer, Asked, Offered, Runtime, RuntimeModel, invalid

from actors import ControlPlane, DriverThreads
from meerkat import RuntimeState
from meerkat.ledger import Ledger
from meerkat.limits import Backoff
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

KINDS = [(drivers, store) for drivers in DriverThreads for store in ("memory", "sqlite")]


@pytest.fixture(autouse=True)
def quick_change() -> Iterator[None]:
    """Threads change places every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def opened(store: RuntimeStore, drivers: DriverThreads = DriverThreads.POOLED) -> ControlPlane:
    return ControlPlane(
        store,
        work,
        drivers=drivers,
        grace_s=WAIT_S,
        backoff=Backoff(base_s=0.0005, cap_s=0.001),
        passivate_after=0.01,
    )


@pytest.mark.parametrize(("drivers", "kind"), KINDS)
def test_what_eight_callers_are_answered_is_linearizable(
    drivers: DriverThreads,
    kind: str,
    tmp_path: Path,
    sized: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    least = sized(50_000, 5_000_000) // len(KINDS)
    store = SqliteStore(tmp_path / "sessions.db") if kind == "sqlite" else MemoryStore()
    done, undecided, anomalies, rounds = 0, 0, list[str](), 0
    with opened(store, drivers) as plane, ThreadPoolExecutor(CALLERS) as callers:
        while done < least:
            current = Round(plane, rounds)
            current.perform(callers)
            found, unsure = current.anomalies()
            anomalies += [f"{name}: {each}" for name, each in found.items()]
            done += sum(map(len, current.histories.values()))
            undecided += unsure
            rounds += 1
    figure(
        f"8 threads: operations by {CALLERS} callers {done}; anomalies {len(anomalies)}; "
        f"histories undecided {undecided}"
    )
    assert anomalies == [], "\n".join(anomalies[:3])
    assert undecided * 100 <= rounds * RUNTIMES
    assert done >= 12_500


# --- controls: a history, and a plane, with something wrong -----------------------------

FIRST, SECOND = Offered(1, key="k"), Offered(2, key="k")
OFFER = Asked("ingest", FIRST)
ACCEPTED: Answer = ("accepted", "queued")


def checked(*calls: tuple[Asked, int, int | None, Answer]) -> bool:
    """Does some order explain these calls?"""
    history = [
        Call(asked, called=called, returned=returned, answer=answer)
        for asked, called, returned, answer in calls
    ]
    return anomaly_in(history, RuntimeModel(), Runtime(state="idle", has_executor=False)) is None


LOOK = Asked("active_input_ids")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([(OFFER, 0, 1, ACCEPTED), (LOOK, 2, 3, ())], id="a stale read"),
        pytest.param([(LOOK, 0, 1, (1,)), (OFFER, 2, 3, ACCEPTED)], id="a read of what is to come"),
        pytest.param(
            [(OFFER, 0, 3, ACCEPTED), (Asked("ingest", SECOND), 1, 2, ACCEPTED)],
            id="one key accepted twice",
        ),
        pytest.param(
            [(OFFER, 0, 9, ACCEPTED), (LOOK, 1, 2, (1,)), (LOOK, 3, 4, ())],
            id="an acceptance that is seen and gone again",
        ),
        pytest.param(
            [(OFFER, 0, 1, ACCEPTED), (Asked("reset"), 2, 4, (1,)), (Asked("reset"), 3, 5, (1,))],
            id="one input given up twice",
        ),
        pytest.param(
            [
                (Asked("retire"), 0, None, ()),
                (OFFER, 1, 2, invalid("retired")),
                (OFFER, 3, 4, ACCEPTED),
            ],
            id="a call without an answer that took place and did not",
        ),
    ],
)
def test_a_planted_anomaly_is_found(calls: list[Any]) -> None:
    assert not checked(*calls)


@pytest.mark.parametrize(
    "calls",
    [
        [(OFFER, 0, 3, ACCEPTED), (LOOK, 1, 2, ())],
        [(OFFER, 0, 3, ACCEPTED), (LOOK, 1, 2, (1,))],
        [(OFFER, 0, 3, ("deduplicated", 2, "queued")), (Asked("ingest", SECOND), 1, 2, ACCEPTED)],
        [(OFFER, 0, None, ()), (LOOK, 1, 2, ()), (LOOK, 3, 4, (1,))],
        [(OFFER, 0, 1, ACCEPTED), (Asked("attach_executor"), 2, 3, ()), (LOOK, 4, 5, ())],
    ],
)
def test_what_an_order_explains_is_no_anomaly(calls: list[Any]) -> None:
    assert checked(*calls)


def anomalies_with(store: RuntimeStore) -> int:
    with opened(store) as plane, ThreadPoolExecutor(CALLERS) as callers:
        for number in range(20):
            current = Round(plane, number)
            current.perform(callers)
            found, _ = current.anomalies()
            if found:
                return len(found)
    return 0


def test_a_plane_that_answers_what_was_true_before_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh, told = ControlPlane.runtime_state, dict[str, RuntimeState]()

    def stale(plane: ControlPlane, name: str, **patience: Any) -> RuntimeState:
        before, told[name] = told.get(name), fresh(plane, name, **patience)
        return before or told[name]

    monkeypatch.setattr(ControlPlane, "runtime_state", stale)
    assert anomalies_with(MemoryStore()) > 0


def test_a_ledger_that_forgets_keys_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "get_by_key", lambda _ledger, _key: None)
    assert anomalies_with(MemoryStore()) > 0
