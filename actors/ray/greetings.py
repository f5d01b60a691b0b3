"""Greetings: which of the shards that were placed have opened, and why others have not."""

from __future__ import annotations

from actors.light import LightCondition
from actors.ray.remote import ShardAway, ShardNotMade
from actors.ray.wire import Welcome
from meerkat.errors import CallTimedOut, MeerkatError, StoreError


class Greetings:
    """Which shards have opened, or why not. Thread-safe."""

    def __init__(self) -> None:
        self._changed = LightCondition()
        self._opened: set[int] = set()
        self._trouble: MeerkatError | None = None
        self._away: ShardAway | None = None

    def came(self, number: int, welcome: Welcome) -> None:
        """A shard has greeted."""
        with self._changed:
            if welcome.opened:
                self._opened.add(number)
            elif welcome.trouble is not None:
                self._trouble = welcome.trouble
            self._changed.notify_all()

    def is_away(self, away: ShardAway) -> None:
        """A shard does not answer, and is greeted again: what would be the cause of a timeout."""
        with self._changed:
            self._away = away
            if isinstance(away, ShardNotMade):
                self._trouble = StoreError(str(away))
                self._changed.notify_all()

    def wait(self, count: int, timeout_s: float, call: str, *, patient: bool) -> None:
        """Wait until so many are open; raise the first trouble, unless ``patient``.

        In the end it is CallTimedOut, whose cause is why a shard has not answered.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._opened) == count or (not patient and self._trouble is not None),
                timeout_s,
            )
            if len(self._opened) == count:
                return
            raise self._trouble or CallTimedOut(call, timeout_s) from self._away
