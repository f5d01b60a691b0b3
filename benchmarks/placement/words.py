"""Words: what is answered in the model."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

LOST: Final[Any] = object()
"""In the place of an answer: the database was away for too long, and nobody knows."""


class Answer(Enum):
    """What a caller is told of an input."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    AGAIN = "again"
    """Nobody knows, or nobody can say just now: ask again under the same key."""
