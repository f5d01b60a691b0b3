"""Kills: one store, and child after child that works on it until it is killed.

After each death the store is looked at as the next one would find it: everything that a host
was told is to be there, and what is stored is to agree with itself. The next child recovers
what the last one left, and is killed in the midst of that, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from meerkat.errors import StoreError
from meerkat.fail_points import FailPoint
from meerkat.limits import DEFAULT_LIMITS, Limits
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.testing.invariants import Promises, check_store
from meerkat.testing.processes import Child, ChildFailed, Children

DATABASE: Final = "sessions.db"


@frozen(kw_only=True)
class Death:
    """How a child dies: at a pass of a fail point, or once it has said so many words.

    ``later_s`` is how much longer the parent listens before it kills.
    """

    point: FailPoint | None = None
    at: int = 1
    words: int = 0
    later_s: float = 0.0

    def __str__(self) -> str:
        if self.point is None:
            return f"after {self.words} words and {self.later_s:.4f} s"
        return f"at pass {self.at} of {self.point}"


class Lives:
    """The lives and deaths of one store. For one thread.

    Each child calls ``program``, ``module:name`` of a function ``(told, folder, life)``. The
    store is what ``open_store`` makes of the folder, the SqliteStore in its ``sessions.db`` if
    that is left out; ``check`` may ask more of it than the invariants and the promises do.
    ``limits`` are those of the children's planes.
    """

    def __init__(
        self,
        children: Children,
        folder: Path,
        program: str,
        *,
        open_store: Callable[[Path], RuntimeStore] | None = None,
        check: Callable[[RuntimeStore], object] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._children = children
        self.folder = folder
        self._program = program
        self._open_store = open_store or _sqlite_in
        self._check = check
        self._limits = limits
        self.promises = Promises()
        """What was told in all lives, and its counts as of the last look."""
        self.lived = 0
        self.kills = 0

    def die(self, death: Death) -> bool:
        """Have a child live until it is killed, then look; False for one that ended before.

        Raises InvariantBroken for what is not as it was told, with the death as a note;
        ChildFailed for a child that fails.
        """
        kills = {} if death.point is None else {death.point: death.at}
        child = self._start(kills)
        try:
            killed = child.end() if kills else _killed(child, death)
            self.kills += killed
            self.look()
        except BaseException as error:
            error.add_note(f"life {self.lived}, which died {death}")
            raise
        return killed

    def live(self) -> Child:
        """Have a child do all its work, then look; raises as :meth:`die` does."""
        child = self._start({})
        if child.end():
            raise ChildFailed(f"life {self.lived} was killed by somebody else")
        self.look()
        return child

    def _start(self, kills: dict[FailPoint, int]) -> Child:
        self.lived += 1
        return self._children.start(
            self._program, self.folder, self.lived, promises=self.promises, kills=kills
        )

    def opened(self) -> RuntimeStore:
        """The store as it is between two lives; the caller closes it."""
        return self._open_store(self.folder)

    def look(self) -> None:
        """Hold what is stored against what was told: InvariantBroken for what is not so.

        It reads, and leaves the recovery to the next child; but for a file that was left in the
        moment of its making, which only a writer can put right.
        """
        store = self.opened()
        try:
            try:
                store.list_runtimes(limit=1)
            except StoreError:
                store.acquire()
            self.promises.check(store)
            check_store(store, limits=self._limits)
            if self._check is not None:
                self._check(store)
        finally:
            store.close()


def _killed(child: Child, death: Death) -> bool:
    for _ in range(death.words):
        if child.hear() is None:
            break
    child.listen(death.later_s)
    return child.kill()


def _sqlite_in(folder: Path) -> SqliteStore:
    return SqliteStore(folder / DATABASE)
