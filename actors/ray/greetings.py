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
        self._troubles: dict[int, MeerkatError] = {}
        self._away: dict[int, ShardAway] = {}

    def came(self, number: int, welcome: Welcome) -> None:
        """A shard has greeted."""
        with self._changed:
            self._away.pop(number, None)
            if welcome.opened:
                self._opened.add(number)
                self._troubles.pop(number, None)
            elif welcome.trouble is not None:
                self._troubles[number] = welcome.trouble
            self._changed.notify_all()

    def is_away(self, number: int, away: ShardAway) -> None:
        """A shard does not answer, and is greeted again."""
        with self._changed:
            self._away[number] = away
            if isinstance(away, ShardNotMade):
                self._troubles[number] = StoreError(str(away))
                self._changed.notify_all()

    def wait(self, count: int, timeout_s: float, call: str, *, patient: bool) -> None:
        """Wait until so many are open; raise the trouble of one, at once unless ``patient``.

        Without any it is CallTimedOut, whose cause is why a shard has not answered.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._opened) == count or (not patient and bool(self._troubles)),
                timeout_s,
            )
            if len(self._opened) == count:
                return
            for trouble in self._troubles.values():
                raise trouble
            raise CallTimedOut(call, timeout_s) from next(iter(self._away.values()), None)
