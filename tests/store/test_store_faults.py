"""Store faults: every call to SQLite fails in turn, before or after it was carried out.

Nothing acknowledged is lost, nothing is done twice, every error is a StoreError, and it is
CommitUnknown exactly when it was the commit that failed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from store_builders import QUICK, Clock, read_again

from meerkat import (
    Accepted,
    Deduplicated,
    InputPhase,
    PersistentRuntimeDriver,
    RunOutput,
    RuntimeState,
)
from meerkat.conversation import digest_of
from meerkat.errors import CommitUnknown, StoreError
from meerkat.json_values import parse
from meerkat.store import SqliteStore
from meerkat.testing import FaultyBinding, When
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    batch,
    everything,
    input_id,
    prompt,
    receipt,
    row_of,
)

INPUTS = 3
WHEN = pytest.mark.parametrize("when", list(When), ids=str)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield Path(name)


class Host:
    """A host that repeats what raised until it has its answer, and checks each answer."""

    def __init__(self, path: Path, binding: FaultyBinding) -> None:
        self.path = path
        self.binding = binding
        self.store = SqliteStore(path, connect=binding)
        self.driver: Any = None
        self.seen = read_again(path)

    def ask(self, call: Callable[[], Any]) -> Any:
        """Call once; what it raised is a StoreError, and unknown only where a commit failed."""
        failed = len(self.binding.failed)
        try:
            return call()
        except StoreError as caught:
            error = caught
        newly = self.binding.failed[failed:]
        assert newly, "an error without a fault"
        assert isinstance(error, CommitUnknown) is (newly[0] == "COMMIT")
        assert "disk I/O error" in str(error)
        return error

    def until_answered(self, call: Callable[[], Any]) -> Any:
        while isinstance(answer := self.ask(call), StoreError):
            pass
        return answer

    def accept(self, number: int) -> None:
        offered, unknown = prompt(number, f"key-{number}"), False
        while True:
            answer = self.ask(lambda: self.driver.accept_input(offered))
            stored = self.seen.load_input(R1, offered.id)
            if not isinstance(answer, StoreError):
                break
            unknown = unknown or isinstance(answer, CommitUnknown)
            assert unknown or stored is None
        assert isinstance(answer, Accepted | Deduplicated)
        assert unknown or isinstance(answer, Accepted)
        assert stored is not None

    def work(self) -> None:
        """Run until nothing waits; a run that was forgotten after a fault begins again."""
        while self.until_answered(self.driver.active_input_ids):
            run_id = self.until_answered(lambda: self.driver.current_run_id)
            if run_id is None:
                self.ask(self.driver.start_run)
                continue
            waiting = self.until_answered(self.driver.active_input_ids)
            output = RunOutput(append=[{"did": str(waiting[0])}], result=1)
            done = self.ask(lambda r=run_id, o=output: self.driver.complete_run(r, o))
            if not isinstance(done, StoreError):
                assert self.seen.load_boundary_receipt(R1, run_id, 0) == done

    def play(self) -> None:
        self.driver = self.until_answered(
            lambda: PersistentRuntimeDriver(R1, self.store, now=Clock())
        )
        if self.driver.runtime_state() is RuntimeState.INITIALIZING:
            self.until_answered(self.driver.recover)
        for number in range(INPUTS):
            self.accept(number)
        self.work()
        self.store.close()

    def check(self) -> None:
        """Each input was run once and left one message, one receipt and one end."""
        ended = self.seen.page_terminal_inputs(R1).items
        assert [state.input_id for state in ended] == [input_id(n) for n in range(INPUTS)]
        for state in ended:
            phases = [entry.to_phase for entry in state.history]
            assert phases.count(InputPhase.CONSUMED) == 1
            assert state.result == 1
        snapshot = self.seen.load_session_snapshot(R1)
        assert snapshot is not None
        messages = parse(snapshot.messages)
        assert messages == [{"did": str(input_id(n))} for n in range(INPUTS)]
        receipts = sorted(self.seen.page_receipts(R1).items, key=lambda r: r.message_count)
        assert [r.contributing_input_ids for r in receipts] == [(s.input_id,) for s in ended]
        assert receipts[-1].conversation_digest == digest_of(snapshot.messages)
        self.seen.close()


def calls_of_a_clean_play(folder: Path) -> int:
    binding = FaultyBinding()
    host = Host(folder / "clean.db", binding)
    host.store.acquire()
    binding.arm()
    host.play()
    host.check()
    return binding.called


@WHEN
def test_rcp_06_every_call_may_fail_and_nothing_is_lost_or_done_twice(
    folder: Path, when: When
) -> None:
    calls = calls_of_a_clean_play(folder)
    for fail_at in range(1, calls + 1):
        binding = FaultyBinding(when=when)
        host = Host(folder / f"{fail_at}.db", binding)
        host.store.acquire()
        binding.arm({fail_at})
        host.play()
        assert len(binding.failed) == 1
        host.check()


@WHEN
def test_a_second_fault_while_the_first_is_dealt_with(folder: Path, when: When) -> None:
    calls = calls_of_a_clean_play(folder)
    for fail_at in range(1, calls + 1, 2):
        for gap in (1, 2, 4, 7, 12):
            binding = FaultyBinding(when=when)
            host = Host(folder / f"{fail_at}-{gap}.db", binding)
            host.store.acquire()
            binding.arm({fail_at, fail_at + gap})
            host.play()
            host.check()


@WHEN
def test_opening_a_file_may_fail_at_every_call(folder: Path, when: When) -> None:
    """The commit that fails here is the migration's: nobody's batch is in doubt."""
    binding = FaultyBinding(when=when)
    first = SqliteStore(folder / "clean.db", connect=binding)
    first.acquire()
    first.close()
    for fail_at in range(1, binding.called + 1):
        binding = FaultyBinding(when=when)
        store = SqliteStore(folder / f"{fail_at}.db", connect=binding)
        binding.arm({fail_at})
        with pytest.raises(StoreError) as caught:
            store.acquire()
        assert type(caught.value) is StoreError
        store.acquire()
        store.commit(batch(R1, row_of(prompt(1))))
        assert len(store.load_active_inputs(R1)) == 1
        store.close()


@WHEN
def test_a_group_with_a_bad_batch_may_fail_at_every_call(folder: Path, when: When) -> None:
    bad = batch(R2, row_of(prompt(2)), after=7)
    group = [batch(R1, row_of(prompt(1)), after=1), bad, batch(R3, receipts=(receipt(0),))]
    fail_at, faults = 0, 1
    while faults:
        fail_at += 1
        binding = FaultyBinding(when=when)
        path = folder / f"{fail_at}.db"
        store = SqliteStore(path, connect=binding)
        store.commit(batch(R1))
        before = everything(store)
        binding.arm({fail_at})
        error: StoreError | None = None
        try:
            answers = store.commit_many(group)
            assert [answer is None for answer in answers] == [True, False, True]
        except StoreError as caught:
            error = caught
        faults = len(binding.failed)
        binding.arm()
        now = everything(read_again(path))
        if isinstance(error, CommitUnknown):
            assert (now != before) is (when is When.AFTER)
        elif error is not None:
            assert now == before
        if now == before:
            answers = store.commit_many(group)
            assert [answer is None for answer in answers] == [True, False, True]
        reader = read_again(path)
        assert len(reader.load_active_inputs(R1)) == len(reader.page_receipts(R3).items) == 1
        assert reader.load_runtime(R2) is None
        store.close()
    assert fail_at > 10


@WHEN
def test_every_read_may_fail_and_be_repeated(folder: Path, when: When) -> None:
    path = folder / "a.db"
    seeding = SqliteStore(path)
    seeding.commit(batch(R1, row_of(prompt(1)), receipts=(receipt(0),)))
    whole = everything(seeding, R1)
    seeding.close()
    fail_at, faults = 0, 1
    while faults:
        fail_at += 1
        binding = FaultyBinding(when=when)
        store = SqliteStore(path, connect=binding)
        binding.arm({fail_at})
        try:
            assert everything(store, R1) == whole
        except StoreError as error:
            assert type(error) is StoreError  # noqa: PT017 - a fault may be past the last call
        faults = len(binding.failed)
        binding.arm()
        assert everything(store, R1) == whole
        store.close()
    assert fail_at > 8
