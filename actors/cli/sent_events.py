"""Sent events: what a page streams (Server-Sent Events), lines in and events out.

Nothing here touches the world. A line that only keeps the stream alive gives nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class SentEvent:
    """One event of a stream."""

    kind: str
    data: str
    id: str | None
    """The place to go on behind, as of this event; None where none was named so far."""


_UNNAMED: Final = "message"
"""The kind of an event that names none."""


def sent_events(lines: Iterable[str]) -> Iterator[SentEvent]:
    """The events that whole lines say. One that the end of the lines cuts off is dropped."""
    kind, data, place = "", list[str](), None
    for line in lines:
        if not line:
            if data:
                yield SentEvent(kind=kind or _UNNAMED, data="\n".join(data), id=place)
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            place = value or None
