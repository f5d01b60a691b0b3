"""Session writes: what the changes of one batch come to, for a store that writes them at once.

Pure: a list of changes has one end, whatever lies between. A store that writes many batches
with one statement each for the appended, the rewritten and the replaced needs that end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field

from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages, SessionChange
from meerkat.store.encoding import text_of

_NOWHERE: Final = -1


@define
class SessionWrites:
    """The end of a batch's changes of its session."""

    follows: int | None = None
    """How many messages have to be committed before it; None when it follows on none.

    -1, which they never are, when one of the changes does not follow on that before it.
    """
    rewrites: bool = False
    """Do all committed messages go?"""
    messages: list[tuple[int, int, str]] = field(factory=list, repr=False)
    """Stretches of messages that are added: position, count, body."""
    snapshot: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, changes: Iterable[SessionChange]) -> SessionWrites:
        """What changes come to; ValueError for a body that is no text."""
        writes, end = cls(), None
        for change in changes:
            match change:
                case AppendMessages(position=position, count=count, body=body):
                    if end is None:
                        writes.follows = end = position
                    if position != end:
                        return cls(follows=_NOWHERE)
                    end = writes._add(position, count, body)
                case RewriteMessages(count=count, body=body):
                    writes.rewrites, writes.messages = True, []
                    end = writes._add(0, count, body)
                case ReplaceSnapshot(data=data):
                    writes.snapshot = data
        return writes

    def _add(self, position: int, count: int, body: bytes) -> int:
        if count:
            self.messages.append((position, count, text_of(body)))
        return position + count
