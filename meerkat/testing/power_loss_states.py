"""What a power cut could leave, drawn by chance: of all that was not synced, any part of it.

What is assumed of a disk is what SQLite assumes (sqlite.org/psow.html): what was synced
stays, and a write harms no byte beside its own. Everything else may go wrong. Of what was
not synced, each change is there or is not, in whatever order they were made; a write may be
torn at sectors or at any byte, with old bytes, zeros or noise in the gaps; the file may have
grown with nothing in it, or not have grown although bytes were on their way; a name that was
given or taken may still be what it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

from attrs import field, frozen

from meerkat.testing.power_loss_log import Acknowledged, Change, Disk, Event, Write

_UNITS: Final = (512, 4096, 1)
"""What a write is torn at: old sectors, new sectors and pages, any byte."""

_SETTLED_SHARE: Final = 4
"""One state in so many, at most, is of a moment at which nothing was on its way."""

_FILLERS: Final = (b"\0", b"\0", b"\xa5")
"""What a file may have grown by, without the bytes that were on their way."""

_FRUITLESS_MAX: Final = 20
"""Rounds without a state that is new, after which there are held to be no more."""


@frozen(kw_only=True)
class PowerLossState:
    """The files that one power cut could leave, and what they must still say.

    ``moment`` is the number of file operations and acknowledgements before the cut.
    ``acknowledged`` is every mark among them, in order.
    """

    moment: int
    files: Mapping[str, bytes] = field(
        repr=lambda files: str({name: len(files[name]) for name in files})
    )
    acknowledged: tuple[Hashable, ...] = field(repr=lambda marks: f"{len(marks)} marks")

    def write_to(self, folder: Path) -> None:
        """Make these the only files of a folder. A folder in memory (/dev/shm) is quickest."""
        for left in folder.iterdir():
            if left.name not in self.files:
                left.unlink()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def power_loss_states(
    events: Sequence[Event], *, seed: int, count: int, before: Disk | None = None
) -> Iterator[PowerLossState]:
    """Different states that power cuts could leave, in order of time in each of several rounds.

    ``before`` is the disk as it was found, by default an empty one. There are ``count`` states,
    or fewer when no more are found. The same events, seed and count give the same states.
    """
    before = before or Disk()
    seen: set[int] = set()
    chance = Random(seed)  # noqa: S311 - of a test
    fruitless = 0
    while (missing := count - len(seen)) > 0 and fruitless < _FRUITLESS_MAX:
        wanted = _moments(before.copy(), events, chance, missing)
        yield from _round(before.copy(), events, chance, wanted, seen)
        fruitless = fruitless + 1 if len(seen) == count - missing else 0


def _round(
    disk: Disk, events: Sequence[Event], chance: Random, wanted: Counter[int], seen: set[int]
) -> Iterator[PowerLossState]:
    for moment in range(len(events) + 1):
        for _ in range(wanted[moment]):
            state = _drawn(disk, moment, chance)
            key = hash((moment, *state.files.items()))
            if key not in seen:
                seen.add(key)
                yield state
        if moment < len(events):
            disk.take(moment, events[moment])


def _drawn(disk: Disk, moment: int, chance: Random) -> PowerLossState:
    names = _names(disk, chance)
    content = {
        file: _content(disk, file, chance) if file in disk.changes else disk.content.get(file, b"")
        for file in sorted(set(names.values()))
    }
    return PowerLossState(
        moment=moment,
        files={name: content[file] for name, file in names.items()},
        acknowledged=tuple(disk.acknowledged),
    )


def _moments(disk: Disk, events: Sequence[Event], chance: Random, count: int) -> Counter[int]:
    """When the cuts come: with each moment, how many states to draw of it.

    Never between an operation and an acknowledgement that follows it: with the latter, the
    same files have more to say.
    """
    settled: list[int] = []
    unsettled: list[int] = []
    for moment, event in enumerate((*events, None)):
        if not isinstance(event, Acknowledged):
            (settled if disk.is_settled else unsettled).append(moment)
        if event is not None:
            disk.take(moment, event)
    few = chance.sample(settled, min(len(settled), count // _SETTLED_SHARE))
    many = chance.choices(unsettled, k=count - len(few)) if unsettled else []
    return Counter(few + many)


def _names(disk: Disk, chance: Random) -> dict[str, int]:
    """A file for each name: the last that is certain, or any that was on its way."""
    could_be = {name: [file] for name, file in disk.names.items()}
    for _, named in disk.renamings:
        could_be.setdefault(named.name, [None]).append(named.file)
    drawn = {name: chance.choice(files) for name, files in could_be.items()}
    return {name: file for name, file in drawn.items() if file is not None}


# --- one file ---------------------------------------------------------------------------


def _content(disk: Disk, file: int, chance: Random) -> bytes:
    changes = [change for _, change in disk.changes[file]]
    kept = chance.choice(_MANNERS)(changes, chance)
    content = bytearray(disk.content.get(file, b""))
    certain = len(content)
    for change in kept:
        change.change(content)
    size = chance.choice(
        (len(content), len(content), _size(certain, changes), _size(certain, kept, chance))
    )
    del content[size:]
    content.extend(chance.choice(_FILLERS) * (size - len(content)))
    return bytes(content)


def _size(certain: int, changes: Sequence[Change], chance: Random | None = None) -> int:
    """How long a file is after changes; by chance, how far it had grown on the way there."""
    size = certain
    for change in changes:
        if isinstance(change, Write):
            size = max(size, change.offset + len(change.data))
        else:
            size = change.size
    if chance is None or size <= certain:
        return size
    return chance.randint(certain, size)


def _nothing(_changes: Sequence[Change], _chance: Random) -> Sequence[Change]:
    return ()


def _everything(changes: Sequence[Change], _chance: Random) -> Sequence[Change]:
    return changes


def _in_order(changes: Sequence[Change], chance: Random) -> Sequence[Change]:
    """The first ones; of the one after them a part."""
    end = chance.randrange(len(changes))
    return [*changes[:end], *_torn(changes[end], chance)]


def _in_any_order(changes: Sequence[Change], chance: Random) -> Sequence[Change]:
    """Any of them."""
    return [change for change in changes if chance.getrandbits(1)]


def _all_but_one(changes: Sequence[Change], chance: Random) -> Sequence[Change]:
    """All but one, which is torn or lost: the last write may be there without an earlier one."""
    out = chance.randrange(len(changes))
    return [*changes[:out], *_torn(changes[out], chance), *changes[out + 1 :]]


def _in_pieces(changes: Sequence[Change], chance: Random) -> Sequence[Change]:
    """Pieces of any of them."""
    return [piece for change in changes for piece in _torn(change, chance)]


_MANNERS: Final = (_nothing, _everything, _in_order, _in_any_order, _all_but_one, _in_pieces)


def _torn(change: Change, chance: Random) -> list[Change]:
    """What came through of a change: pieces of a write; of a resize all or nothing."""
    if not isinstance(change, Write):
        return [change] if chance.getrandbits(1) else []
    start, end = change.offset, change.offset + len(change.data)
    unit = chance.choice(_UNITS)
    if unit == 1:
        bounds = [start, chance.randint(start, end), end]
    else:
        bounds = [start, *range(start - start % unit + unit, end, unit), end]
    pieces: list[Change] = []
    for first, last in pairwise(bounds):
        data = change.data[first - start : last - start]
        match chance.randrange(16):
            case 0:
                pieces.append(Write(change.file, first, bytes(len(data))))
            case 1:
                pieces.append(Write(change.file, first, chance.randbytes(len(data))))
            case fate if fate % 2:
                pieces.append(Write(change.file, first, data))
    return pieces
