"""Sessions: messages behind messages, and bytes as they are."""

from __future__ import annotations

from typing import Final

import pytest

from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages, SessionSnapshot
from meerkat.errors import StoreError
from meerkat.json_values import canonical
from meerkat.store import RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import R1, R2, batch, everything

FIRST: Final = AppendMessages(0, 2, b'[{"n":1},{"n":2}]')


class SessionCases(StoreCases):
    """Sessions: messages behind messages, and bytes as they are."""

    def test_snapshots_are_byte_equal(self, store: RuntimeStore) -> None:
        for data in (b"", b"\x00\xff" * 3, "ä".encode(), b"x" * 100_000):
            known = store.load_runtime(R1) is not None
            store.commit(batch(R1, after=int(known), session=(ReplaceSnapshot(data),)))
            assert store.load_session_snapshot(R1) == SessionSnapshot(opaque=data)

    def test_messages_are_appended_and_rewritten(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, session=(FIRST, AppendMessages(2, 1, b'["3"]'))))
        three = SessionSnapshot(messages=b'[{"n":1},{"n":2},"3"]', message_count=3)
        assert store.load_session_snapshot(R1) == three
        store.commit(batch(R1, after=1, session=(RewriteMessages(1, b"[0]"),)))
        one = SessionSnapshot(messages=b"[0]", message_count=1)
        assert store.load_session_snapshot(R1) == one
        store.commit(batch(R1, after=1, session=(AppendMessages(1, 1, b'["\xc3\xa4"]'),)))
        two = SessionSnapshot(messages='[0,"ä"]'.encode(), message_count=2)
        assert store.load_session_snapshot(R1) == two
        store.commit(batch(R1, after=1, session=(RewriteMessages(0, b"[]"),)))
        assert store.load_session_snapshot(R1) is None

    @pytest.mark.parametrize("position", [0, 1, 3])
    def test_messages_must_follow_on_the_committed_ones(
        self, store: RuntimeStore, position: int
    ) -> None:
        store.commit(batch(R1, session=(FIRST,)))
        before = everything(store)
        with pytest.raises(StoreError):
            store.commit(batch(R1, after=1, session=(AppendMessages(position, 1, b"[0]"),)))
        assert everything(store) == before

    def test_messages_and_bytes_are_kept_side_by_side(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, session=(FIRST, ReplaceSnapshot(b"one"))))
        store.commit(batch(R1, after=1, session=(ReplaceSnapshot(b"two"),)))
        both = SessionSnapshot(messages=FIRST.body, message_count=2, opaque=b"two")
        assert store.load_session_snapshot(R1) == both
        store.commit(batch(R1, after=1))
        assert store.load_session_snapshot(R1) == both
        assert store.load_session_snapshot(R2) is None

    def test_a_long_session_comes_back_in_its_order(self, store: RuntimeStore) -> None:
        for start in range(0, 400, 2):
            body = canonical([{"n": start}, {"n": start + 1, "text": "ä\U0001f9a6\u0000"}])
            change = AppendMessages(start, 2, body)
            store.commit(batch(R1, after=int(start > 0), session=(change,)))
        expected = canonical(
            [{"n": n, **({"text": "ä\U0001f9a6\u0000"} if n % 2 else {})} for n in range(400)]
        )
        found = store.load_session_snapshot(R1)
        assert found == SessionSnapshot(messages=expected, message_count=400)

    def test_large_bytes_are_kept(self, store: RuntimeStore) -> None:
        data = bytes(range(256)) * 16_384
        store.commit(batch(R1, session=(ReplaceSnapshot(data),)))
        assert store.load_session_snapshot(R1) == SessionSnapshot(opaque=data)

    def test_a_rewrite_and_what_follows_it_are_one_change(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, session=(FIRST,)))
        rewritten = (RewriteMessages(1, b"[0]"), AppendMessages(1, 1, b"[1]"))
        store.commit(batch(R1, after=1, session=rewritten))
        two = SessionSnapshot(messages=b"[0,1]", message_count=2)
        assert store.load_session_snapshot(R1) == two
        with pytest.raises(StoreError):  # behind the rewritten one, not the old one
            store.commit(batch(R1, after=1, session=(rewritten[0], AppendMessages(2, 1, b"[2]"))))
        assert store.load_session_snapshot(R1) == two
