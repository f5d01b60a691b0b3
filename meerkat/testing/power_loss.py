"""Power loss: a folder whose every file operation is noted, and what a cut could leave of it.

A store works on a :class:`RecordingDisk` through its ``connect=`` seam; whoever hears from it
says so to the disk; and afterwards each state that the disk gives is written to a folder,
opened, and looked through for what had been acknowledged. How: the class's own words.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from meerkat.testing.apsw_binding import ApswConnection, ApswCursor, apsw_connect
from meerkat.testing.power_loss_log import Acknowledged, Disk, Log
from meerkat.testing.power_loss_states import PowerLossState, power_loss_states
from meerkat.testing.power_loss_vfs import RecordingVfs

_NOT_RECORDED: Final = ("-shm", "-owner")
"""Ends of the names of files that are nothing after a power cut: shared memory, a lock."""

_SETTING: Final = re.compile(r"PRAGMA (\w+) = ")


class RecordingDisk:
    """The disk under the SQLite databases of one folder: it notes all that is done to them.

    ::

        with RecordingDisk(folder) as disk:
            store = SqliteStore(folder / "sessions.db", connect=disk.connect)
            ...  # commit; and when somebody is told of it:
            disk.acknowledged(input_id)
            store.close()
        for state in disk.states(seed=1, count=1000):
            state.write_to(another_folder)  # open it there; look for state.acknowledged

    Give :meth:`connect` to a :class:`~meerkat.store.SqliteStore`, and tell the disk what was
    acknowledged when; :meth:`states` then gives what power cuts could have left. Files that
    are in the folder already count as safely on the disk. What is done there otherwise than
    through :meth:`connect` is not seen.

    ``pragmas`` are settings that take the place of the store's own: a small
    ``wal_autocheckpoint`` makes it checkpoint often; ``synchronous="normal"``, which the
    store refuses, loses what was acknowledged, and shows that a test would find it.

    Thread-safe. A context manager: at its end the file system is given up, so close what
    has the databases open before. Needs apsw, which the extra ``[testing]`` brings.
    """

    def __init__(self, folder: str | Path, *, pragmas: Mapping[str, object] | None = None) -> None:
        self.folder = Path(folder).resolve()
        self._pragmas = dict(pragmas or {})
        self._log = Log()
        self._name = f"recording-{uuid4().hex}"
        found = [
            each
            for each in sorted(self.folder.iterdir())
            if each.is_file() and not each.name.endswith(_NOT_RECORDED)
        ]
        numbers = {each.name: number for number, each in enumerate(found)}
        content = {numbers[each.name]: each.read_bytes() for each in found}
        self._before = Disk(content=content, names=dict(numbers))
        self._vfs = RecordingVfs(self._name, self.folder, self._log, numbers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._vfs.unregister()

    def __len__(self) -> int:
        """How many operations and acknowledgements there were."""
        return len(self._log)

    def connect(self, database: str, **options: Any) -> ApswConnection:
        """Open a database: what takes the place of ``sqlite3.connect`` for a store."""
        opened = apsw_connect(database, vfs=self._name, **options)
        return _SetOtherwise(opened, self._pragmas) if self._pragmas else opened

    def acknowledged(self, what: Hashable) -> None:
        """Note that somebody has just been told: from now on a power cut must not undo it."""
        self._log.add(Acknowledged(what))

    def states(self, *, seed: int, count: int) -> Iterator[PowerLossState]:
        """Different states that a power cut could have left, at moments drawn by chance.

        There are ``count`` of them, or fewer when no more are found. What was noted up to
        now, the seed and the count decide which.
        """
        return power_loss_states(self._log.events(), seed=seed, count=count, before=self._before)


class _SetOtherwise(ApswConnection):
    """A connection on which some settings are not the ones that were asked for."""

    def __init__(self, opened: ApswConnection, pragmas: Mapping[str, object]) -> None:
        super().__init__(opened.inner)
        self._pragmas = pragmas

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> ApswCursor:
        """Run one statement, or set what is set here instead."""
        setting = _SETTING.match(statement)
        if setting is not None and setting[1] in self._pragmas:
            statement = f"PRAGMA {setting[1]} = {self._pragmas[setting[1]]}"
        return super().execute(statement, values)
