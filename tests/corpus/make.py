"""Make the corpus files of the schema that the meerkat on the path writes.

    PYTHONPATH=<a checkout> python tests/corpus/make.py [FOLDER]

Into ``FOLDER/schema-N``, by default beside this file: databases and, beside each, what was read
of it by the code that wrote it; all compressed, so that they weigh little. It needs no more of
that code than what every schema's has, so that a checkout of an earlier version makes the files
of its schema.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import corpus_stories as stories
from attrs import fields_dict
from corpus_reading import what_is_read

from meerkat.store import Batch, RuntimeRow, SqliteStore
from meerkat.store.schema import SCHEMA_VERSION

HERE: Final = Path(__file__).parent
DATABASE: Final = "database"
PARTS: Final = (DATABASE, DATABASE + "-wal")
"""What is kept of a database: its file and, where a kill left it, its log."""

Write = Callable[[Path], None]


def committed(story: Callable[[], Iterable[Batch]]) -> Write:
    def write(path: Path) -> None:
        store = SqliteStore(path)
        for each in story():
            store.commit(each)
        store.close()

    return write


def pruned(path: Path) -> None:
    """Cut down all but the last four, as the code of that schema does it."""
    from meerkat.limits import Retention  # noqa: PLC0415 - not every schema's code has it

    committed(stories.past)(path)
    store = SqliteStore(path)
    after: str | None = None
    while True:
        after = store.prune(Retention(max_count=4), stories.LATER, after=after).next
        if after is None:
            break
    store.close()


def killed(path: Path) -> None:
    """The last commits lie in the log alone, as their process was killed."""
    committed(stories.gone)(path)
    child = os.fork()
    if child == 0:
        store = SqliteStore(path)
        for story in (stories.idle, stories.operations, stories.edges):
            for each in story():
                store.commit(each)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


FILES: Final[dict[str, Write]] = {
    "idle": committed(stories.idle),
    "work": committed(stories.work),
    "operations": committed(stories.operations),
    "gone": committed(stories.gone),
    "edges": committed(stories.edges),
    "killed": killed,
}
if hasattr(SqliteStore, "prune"):
    FILES["pruned"] = pruned
if "set_aside" in fields_dict(RuntimeRow):
    FILES["set-aside"] = committed(stories.set_aside)
if "paused" in fields_dict(RuntimeRow):
    FILES["paused"] = committed(stories.paused)


def make(name: str, folder: Path) -> None:
    """Make one file, and what is read of it, in ``folder``."""
    with tempfile.TemporaryDirectory() as scratch:
        FILES[name](Path(scratch, DATABASE))
        for part in PARTS:
            written = Path(scratch, part)
            if written.exists() and written.stat().st_size:
                packed = gzip.compress(written.read_bytes(), mtime=0)
                (folder / f"{name}.{part}.gz").write_bytes(packed)
        store = SqliteStore(Path(scratch, DATABASE))
        read = what_is_read(store)
        store.close()
    lines = [f"{json.dumps(each)}: {json.dumps(read[each], sort_keys=True)}" for each in read]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (folder / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def main(folder: Path) -> None:
    into = folder / f"schema-{SCHEMA_VERSION}"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for name in FILES:
        make(name, into)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
