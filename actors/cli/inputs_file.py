"""The file of inputs: one JSON document a line, read strictly, a line at a time.

A line is ``{"runtime_id": "…", "input": {"input_type": "…", …}}`` under the rules of the
codec: nothing is coerced and no unknown key passes. A bad line is a value like a good one,
with its number and what is wrong, so that the rest of the file goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final, TypeAlias

from attrs import field, frozen

from meerkat.codec import from_json
from meerkat.errors import DecodeError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.inputs import Input

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A payload of 1 MiB with every character escaped (6 bytes for 1), and room around it."""

_ROOT: Final = re.compile(r"(^|; |: )\$(: |\.)?")


@frozen
class InputLine:
    """A line that holds an input."""

    number: int
    runtime_id: LogicalRuntimeId
    input: Input = field(repr=False)

    @property
    def place(self) -> str:
        """Where it is and what for, as messages say it."""
        return f"line {self.number}: {self.runtime_id}"


@frozen
class BadLine:
    """A line that holds none; ``reason`` names the place in it."""

    number: int
    reason: str


Line: TypeAlias = InputLine | BadLine


@frozen(kw_only=True)
class _Document:
    runtime_id: LogicalRuntimeId
    input: Input = field(repr=False)


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file in order, blank ones left out. Lines are counted from 1.

    Raises what reading the file raises; a bad line is no error.
    """
    number = 0
    while raw := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX and not raw.endswith(b"\n"):
            _skip_rest(file)
            yield BadLine(number, f"longer than {LINE_BYTES_MAX} bytes")
        elif raw.strip():
            yield _read(number, raw)


def _skip_rest(file: BinaryIO) -> None:
    while (raw := file.readline(LINE_BYTES_MAX)) and not raw.endswith(b"\n"):
        pass


def _read(number: int, raw: bytes) -> Line:
    try:
        document = from_json(_Document, raw)
    except DecodeError as error:
        return BadLine(number, _ROOT.sub(r"\1", error.reason))
    return InputLine(number, document.runtime_id, document.input)
