"""Arrays: many rows as PostgreSQL takes them, one binary array a column.

psycopg makes an array of a list by looking at its elements. Here a statement says what its
columns are. That takes a fraction of the time, and a column of NULLs alone is of the same type
as any other: a statement is prepared once, and not for each set of columns that may be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Any, Final

from attrs import frozen
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

from meerkat.store.rows import Columns

_HEAD: Final = Struct(">iiIii")
_DIMENSIONS, _FIRST = 1, 1
_LENGTH: Final = Struct(">i")
_NULL: Final = _LENGTH.pack(-1)
_UUID_LENGTH: Final = _LENGTH.pack(16)
_JSONB_VERSION: Final = b"\x01"


class _Array(bytes):
    """An array in binary form; a type of its own for each type of elements."""

    __slots__ = ()


@frozen
class _Elements:
    """How the elements of one type are written."""

    oid: int
    of: type[_Array]
    written: Callable[[Any], bytes]
    """An element behind its length."""

    def array(self, values: Sequence[Any]) -> _Array:
        """The array of some values, None for NULL."""
        written = self.written
        head = _HEAD.pack(_DIMENSIONS, None in values, self.oid, len(values), _FIRST)
        elements = [_NULL if value is None else written(value) for value in values]
        return self.of(head + b"".join(elements))


def _dumper(array_oid: int) -> type[Dumper]:
    """What hands an array over as it is."""

    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = array_oid

        def dump(self, obj: Any) -> Any:
            return obj

    return ArrayDumper


def _elements(
    name: str, oid: int, array_oid: int, written: Callable[[Any], bytes]
) -> tuple[_Elements, type[Dumper]]:
    of = type(f"{name.capitalize()}Array", (_Array,), {"__slots__": ()})
    return _Elements(oid, of, written), _dumper(array_oid)


def _bytes(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _text(text: str) -> bytes:
    value = text.encode()
    return _LENGTH.pack(len(value)) + value


def _jsonb(text: str) -> bytes:
    return _bytes(_JSONB_VERSION + text.encode())


def _uuid(text: str) -> bytes:
    return _UUID_LENGTH + bytes.fromhex(text.replace("-", ""))


_TYPES: Final[Mapping[str, tuple[_Elements, type[Dumper]]]] = {
    "text": _elements("text", 25, 1009, _text),
    "uuid": _elements("uuid", 2950, 2951, _uuid),
    "bigint": _elements("bigint", 20, 1016, partial(Struct(">iq").pack, 8)),
    "bytea": _elements("bytea", 17, 1001, _bytes),
    "jsonb": _elements("jsonb", 3802, 3807, _jsonb),
}
"""Type of a column → how it is written. The numbers are the same in every PostgreSQL."""


def take_arrays(adapters: AdaptersMap) -> None:
    """Have a connection with these adapters hand over what ``arrays`` makes."""
    for elements, dumper in _TYPES.values():
        adapters.register_dumper(elements.of, dumper)


def arrays(types: Sequence[str], rows: Sequence[Columns]) -> list[bytes]:
    """Rows of these types as one array a column; ValueError for what cannot be written."""
    columns = zip(*rows, strict=True)
    return [_TYPES[name][0].array(column) for name, column in zip(types, columns, strict=True)]
