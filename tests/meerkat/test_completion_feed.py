"""The completion feed: bounded, in order, and honest about what it has dropped."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from attrs import evolve

from meerkat.completion_feed import CompletionFeed, FeedBatch, FeedEntry, FeedGap
from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import OperationId
from meerkat.operations import OperationCompleted, OperationKind, OperationRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(seq: int) -> FeedEntry:
    return FeedEntry(
        seq=seq,
        operation_id=OperationId.new(),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name=f"tool {seq}",
        outcome=OperationCompleted(result=seq),
        completed_at=START,
    )


def feed_of(count: int, feed_max: int = 1_024) -> CompletionFeed:
    feed = CompletionFeed(feed_max)
    for seq in range(1, count + 1):
        feed.append(entry(seq))
    return feed


def seqs(batch: FeedBatch) -> list[int]:
    return [it.seq for it in batch.entries]


def test_fee_01_gap_after_a_sequence() -> None:
    batch = FeedBatch(watermark=9, dropped_through=4)
    assert batch.gap_after(3) == FeedGap(requested=3, dropped_through=4, watermark=9)
    assert batch.gap_after(4) is None
    assert batch.gap_after(8) is None


def test_fee_02_a_feed_of_one() -> None:
    feed = feed_of(2, feed_max=1)
    first = feed.list_since(0)
    assert seqs(first) == [2]
    assert first.gap == FeedGap(requested=0, dropped_through=1, watermark=2)
    second = feed.list_since(1)
    assert (seqs(second), second.gap) == ([2], None)


def test_reading_is_strictly_after_and_names_the_watermark() -> None:
    feed = feed_of(5)
    for since in range(8):
        batch = feed.list_since(since)
        assert seqs(batch) == list(range(since + 1, 6))
        assert (batch.requested, batch.watermark, batch.gap) == (since, 5, None)


def test_an_empty_feed() -> None:
    batch = CompletionFeed().list_since(0)
    assert (batch.entries, batch.watermark, batch.gap) == ((), 0, None)


def test_a_reader_that_follows_the_watermark_misses_nothing() -> None:
    feed, read, at = CompletionFeed(3), [], 0
    for seq in range(1, 50):
        feed.append(entry(seq))
        if seq % 3 == 0:
            batch = feed.list_since(at)
            assert batch.gap is None
            read += seqs(batch)
            at = batch.watermark
    assert read == list(range(1, 49))


def test_the_feed_keeps_1024_unless_told() -> None:
    assert len(feed_of(1_025).list_since(0).entries) == 1_024


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_only_the_next_sequence_is_appended(seq: int) -> None:
    feed = feed_of(2)
    with pytest.raises(ValueError, match="does not follow 2"):
        feed.append(entry(seq))
    assert feed.watermark == 2


def test_a_bad_cursor_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        feed_of(1).list_since(-1)
    with pytest.raises(TypeError):
        feed_of(1).list_since(True)


def test_an_entry_is_of_an_ended_operation() -> None:
    live = OperationRecord(
        operation_id=OperationId.new(),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name="live",
        created_at=START,
    )
    with pytest.raises(ValueError, match="has not ended"):
        FeedEntry.of(1, live)
    with pytest.raises(ValueError):
        evolve(entry(1), seq=0)


def test_recovery_keeps_sequences_and_drops_honestly() -> None:
    entries = [entry(seq) for seq in (5, 6, 7)]
    whole = CompletionFeed.recover(entries)
    assert whole.list_since(0).gap == FeedGap(requested=0, dropped_through=4, watermark=7)
    assert seqs(whole.list_since(5)) == [6, 7]
    assert seqs(CompletionFeed.recover(entries, feed_max=2).list_since(0)) == [6, 7]
    assert CompletionFeed.recover(entries, watermark=6).watermark == 7
    beyond = CompletionFeed.recover(entries, watermark=9)
    assert beyond.list_since(6).gap == FeedGap(requested=6, dropped_through=9, watermark=9)
    beyond.append(entry(10))


@pytest.mark.parametrize("order", [(2, 1), (1, 3), (1, 1)])
def test_recovery_refuses_disorder_and_holes(order: tuple[int, int]) -> None:
    with pytest.raises(RecoveryCorruption):
        CompletionFeed.recover([entry(seq) for seq in order])
