"""Texts: what came from elsewhere, made fit for a terminal.

Messages, errors and file names may hold anything, the escape sequences of a terminal
included. Nothing of theirs is printed but through here.
"""

from __future__ import annotations

import json
from typing import Any, Final

NOTE_CHARS_MAX: Final = 500
"""Longest foreign text in a line of ours: enough for an error, not for a traceback."""


def one_line(text: str) -> str:
    """The text on one line, bounded, with nothing in it that a terminal would obey."""
    flat = " ".join(text.split())
    if len(flat) > NOTE_CHARS_MAX:
        flat = flat[:NOTE_CHARS_MAX] + " …"
    return "".join(char if char.isprintable() else "�" for char in flat)


def many_lines(text: str) -> str:
    """The text as it is, with nothing but line breaks in it that a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


def counted(number: int, what: str) -> str:
    """So many of them, as one says it: ``1 input``, ``2 inputs``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def json_line(value: Any) -> str:
    """A JSON document on one line, in ASCII, so that no locale can spoil it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
