"""Desk: what the routes of one page work with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from attrs import define, field

from actors.clock import SystemClock
from actors.dashboard.asked import NOTHING_ASKED, Asked
from actors.dashboard.hands import Hands
from actors.dashboard.reads import figures
from actors.dashboard.sources import Source
from actors.dashboard.streams import Streams
from actors.facts import Facts
from meerkat.json_values import dump

READS_MAX: Final = 4
"""Looks at the store at once: more would only take the interpreter from who works."""

ACTS_MAX: Final = 8
"""Actions at once: each may wait for a host's code."""

FRESH_S: Final = 0.5
"""How long the figures serve whoever asks: there may be as many readers as streams."""


class Latest:
    """What is read for one, and serves all who ask within half a second. Of one loop."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read
        self._clock = SystemClock()
        self._reading: asyncio.Future[bytes] | None = None
        self._until = 0.0

    async def get(self) -> bytes:
        """The document; raises what the reading of it has raised."""
        now = self._clock.monotonic()
        if self._reading is None or now >= self._until:
            self._reading = asyncio.ensure_future(self._read())
            self._until = now + FRESH_S
        return await asyncio.shield(self._reading)


@define(kw_only=True)
class Desk:
    """The parts of one page."""

    source: Source
    allow_actions: bool
    streams: Streams = field(factory=Streams)
    reads: Hands = field(factory=lambda: Hands(READS_MAX))
    acts: Hands = field(factory=lambda: Hands(ACTS_MAX))
    _figures: Latest = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._figures = Latest(partial(self.read, figures, NOTHING_ASKED))

    async def latest_figures(self) -> bytes:
        """The figures, as of this moment or half a second ago."""
        return await self._figures.get()

    async def read(self, read: Callable[[Source, Asked], Facts], asked: Asked) -> bytes:
        """A document, read and encoded off the event loop."""
        return await self.reads.do(lambda: dump(read(self.source, asked)))
