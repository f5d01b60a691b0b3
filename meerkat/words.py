"""Words: the base of every enumeration, whose text is its wire word."""

from __future__ import annotations

from enum import Enum


class Word(Enum):
    """An enumeration whose members print, and travel, as their snake_case value."""

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is Python code

    def __str__(self) -> str:
        return str(self.value)
