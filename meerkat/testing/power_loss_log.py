"""What happened to the files of a folder, in order, and what of it is on the disk for certain.

Values and one fold over them; no file is touched here. A write counts from when it has
returned, a sync covers what had happened when it began, and a name in the folder is something
of its own: it is on the disk once the folder has been synced, and until then the file may be
there without it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import TypeAlias

from attrs import define, field, frozen


@frozen
class Write:
    """Bytes that were written at a place of a file."""

    file: int
    offset: int
    data: bytes = field(repr=lambda data: f"{len(data)} bytes")

    def change(self, content: bytearray) -> None:
        """Do it to the file's bytes; what lies between the end and the place is zeros."""
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset : self.offset + len(self.data)] = self.data


@frozen
class Resize:
    """A file was cut, or made longer."""

    file: int
    size: int

    def change(self, content: bytearray) -> None:
        """Do it to the file's bytes."""
        del content[self.size :]
        content.extend(bytes(self.size - len(content)))


@frozen
class Named:
    """A name was given to a file, or (None) taken from it."""

    name: str
    file: int | None


@frozen
class FileSynced:
    """All that happened to a file before the event of that number is on the disk."""

    file: int
    before: int


@frozen
class NamesSynced:
    """All names that were given or taken before the event of that number are on the disk."""

    before: int


@frozen
class Acknowledged:
    """Somebody was told something that the files must still say after a power cut."""

    what: Hashable


Change: TypeAlias = Write | Resize
Event: TypeAlias = Change | Named | FileSynced | NamesSynced | Acknowledged


class Log:
    """The events of a folder, each with its number: its place from 0. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> None:
        """Note what has just happened."""
        with self._lock:
            self._events.append(event)

    def events(self) -> Sequence[Event]:
        """All events so far."""
        with self._lock:
            return tuple(self._events)


@define
class Disk:
    """The disk at one moment: what is on it for certain, and what is on its way to it."""

    content: dict[int, bytes] = field(factory=dict)
    names: dict[str, int | None] = field(factory=dict)
    changes: dict[int, list[tuple[int, Change]]] = field(factory=dict)
    renamings: list[tuple[int, Named]] = field(factory=list)
    acknowledged: list[Hashable] = field(factory=list)

    @property
    def is_settled(self) -> bool:
        """Is there but one state that a power cut could leave?"""
        return not self.renamings and not self.changes

    def copy(self) -> Disk:
        """The same disk, to go on from it apart."""
        return Disk(
            content=dict(self.content),
            names=dict(self.names),
            changes={file: list(changes) for file, changes in self.changes.items()},
            renamings=list(self.renamings),
            acknowledged=list(self.acknowledged),
        )

    def take(self, number: int, event: Event) -> None:
        """Go on to the moment after an event."""
        match event:
            case Write(file=file) | Resize(file=file):
                self.changes.setdefault(file, []).append((number, event))
            case Named():
                self.renamings.append((number, event))
            case FileSynced(file=file, before=before):
                self._land(file, before)
            case NamesSynced(before=before):
                landed = [named for at, named in self.renamings if at < before]
                self.names.update((named.name, named.file) for named in landed)
                self.renamings = [each for each in self.renamings if each[0] >= before]
            case Acknowledged(what=what):
                self.acknowledged.append(what)

    def _land(self, file: int, before: int) -> None:
        changes = self.changes.pop(file, [])
        content = bytearray(self.content.get(file, b""))
        for at, change in changes:
            if at < before:
                change.change(content)
        self.content[file] = bytes(content)
        if late := [each for each in changes if each[0] >= before]:
            self.changes[file] = late
