"""Copy reports: what a copy has come to, or why there is none."""

from __future__ import annotations

from attrs import field, frozen

from meerkat.errors import StoreError
from meerkat.store.copy_digest import CopyPart


class CopyRefused(StoreError):
    """The two stores are not a store and its copy; nothing was changed."""


@frozen(kw_only=True)
class CopyDifference:
    """A runtime that is not the same in both stores, and what of it is not."""

    runtime: str
    parts: tuple[CopyPart, ...]


@frozen(kw_only=True)
class CopyReport:
    """What a copy, or a look at one, has come to."""

    copied: int = 0
    """Runtimes that something was brought of, counted once a pass."""
    passes: int = 0
    verified: int = 0
    """Runtimes that are the same in both stores."""
    counts: dict[CopyPart, int] = field(factory=dict)
    """How many rows, or messages, those have."""
    digest: str = ""
    """One hash over the digests of all of them."""
    owner: str | None = None
    """Why it is not finished: who has the store that is copied."""
    missing: tuple[str, ...] = ()
    """The runtimes of which something is still to be brought, or that are held back there."""
    differences: tuple[CopyDifference, ...] = ()
    unreadable: dict[str, str] = field(factory=dict)
    """Runtimes that are not copied, as a row of theirs cannot be read: which."""

    @property
    def is_finished(self) -> bool:
        """Is all of it there and the same, but for what cannot be read?"""
        return self.owner is None and not self.missing and not self.differences
