"""The file system under SQLite that notes what is done to the files of one folder.

Everything is done by SQLite's own file system for this platform, which it inherits; what
goes through here is noted when it has succeeded. The WAL's index is shared memory, worth
nothing after a power cut, and stays below.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Final

import apsw

from meerkat.testing.power_loss_log import FileSynced, Log, Named, NamesSynced, Resize, Write

_PLATFORMS: Final = ""
"""The name by which a file system inherits SQLite's default one."""

_WITH_THEIR_FOLDER: Final = (
    apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
)
"""Files whose first sync syncs the folder as well, if whoever opened them may create them."""


class RecordingVfs(apsw.VFS):
    """A file system of SQLite's, known to apsw by its name, that keeps a log.

    ``found`` has the numbers of the files that are there already, by name.
    """

    def __init__(self, name: str, folder: Path, log: Log, found: Mapping[str, int]) -> None:
        self._folder = folder
        self._log = log
        self._files = dict(found)
        self._numbers = count(len(found))
        super().__init__(name, base=_PLATFORMS)

    def _make(self, name: str) -> int:
        file = next(self._numbers)
        self._files[name] = file
        self._log.add(Named(name, file))
        return file

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file; one of the folder's is noted from now on."""
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        if text is None or Path(text).parent != self._folder:
            return apsw.VFSFile(_PLATFORMS, name, flags)
        short = Path(text).name
        opened = RecordedFile(name, flags, self._log)
        opened.number = self._files[short] if short in self._files else self._make(short)
        return opened

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - SQLite's
        """Delete a file; ``syncdir`` says that its name is to be gone for certain."""
        super().xDelete(filename, syncdir)
        if Path(filename).parent == self._folder:
            self._files.pop(Path(filename).name, None)
            self._log.add(Named(Path(filename).name, None))
            if syncdir:
                self._log.add(NamesSynced(before=len(self._log)))


class RecordedFile(apsw.VFSFile):
    """One open file, of which changes and syncs are noted."""

    number: int

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], log: Log) -> None:
        self._log = log
        asked = flags[0]
        self._syncs_folder = bool(asked & apsw.SQLITE_OPEN_CREATE and asked & _WITH_THEIR_FOLDER)
        super().__init__(_PLATFORMS, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write, then note it."""
        super().xWrite(data, offset)
        self._log.add(Write(self.number, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's name
        """Change the size, then note it."""
        super().xTruncate(size)
        self._log.add(Resize(self.number, size))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync, then note that what was noted before it began is on the disk."""
        before = len(self._log)
        super().xSync(flags)
        self._log.add(FileSynced(self.number, before))
        if self._syncs_folder:
            self._syncs_folder = False
            self._log.add(NamesSynced(before))
