"""The files of the corpus: which there are, unpacked where a test may do with them as it likes."""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from attrs import frozen

CORPUS: Final = Path(__file__).parents[1] / "corpus"
DATABASE: Final = "database"

sys.path.append(str(CORPUS))  # what is read of a file is said once, for all code that reads it
from corpus_reading import what_is_read  # noqa: E402

__all__ = ["CORPUS", "CorpusFile", "Dump", "differences", "dump", "every_file", "what_is_read"]


@frozen
class CorpusFile:
    """One file of one schema."""

    schema: int
    name: str

    def __str__(self) -> str:
        return f"{self.schema}-{self.name}"

    @property
    def _folder(self) -> Path:
        return CORPUS / f"schema-{self.schema}"

    def unpack(self, folder: Path) -> Path:
        """Put the file, and its log if it has one, into a folder; gives its path."""
        for packed in self._folder.glob(f"{self.name}.{DATABASE}*.gz"):
            part = packed.name.removeprefix(f"{self.name}.").removesuffix(".gz")
            (folder / part).write_bytes(gzip.decompress(packed.read_bytes()))
        return folder / DATABASE

    def expected(self) -> dict[str, Any]:
        """What the code that wrote it read of it."""
        packed = (self._folder / f"{self.name}.json.gz").read_bytes()
        read: dict[str, Any] = json.loads(gzip.decompress(packed))
        return read


def every_file() -> list[CorpusFile]:
    """All files, by their schema."""
    found = CORPUS.glob(f"schema-*/*.{DATABASE}.gz")
    names = [(int(each.parent.name[len("schema-") :]), each.name.split(".")[0]) for each in found]
    return [CorpusFile(*each) for each in sorted(names)]


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where what is found is not what was expected. What is new in it is no difference."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            if key in found:
                yield from differences(value, found[key], f"{where}/{key}")
            else:
                yield f"{where}/{key} is missing"
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{where}/{place}")
    elif expected != found:
        yield f"{where}: {found!r:.200} is not {expected!r:.200}"


@frozen
class Dump:
    """Everything in a database, below any store: its version, its schema, its rows."""

    version: int
    schema: tuple[Any, ...]
    rows: Mapping[str, list[Any]]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.rows.values()))


def dump(path: Path) -> Dump:
    """Read everything that is committed, byte for byte."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        tables = [name.decode() for kind, name, _ in schema if kind == b"table"]
        rows = {each: connection.execute(f"SELECT * FROM {each}").fetchall() for each in tables}
    return Dump(
        version, tuple(sorted(schema, key=repr)), {k: sorted(v, key=repr) for k, v in rows.items()}
    )
