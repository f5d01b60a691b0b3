"""A planted bug: one edit of the product that breaks a promise, and the test that finds it."""

from __future__ import annotations

from attrs import frozen


@frozen
class Bug:
    """One bug.

    ``old`` stands in ``file`` exactly once; where it does not, the product has changed under
    the bug, and whoever changed it says what the bug looks like now. ``found_by`` is a test
    under ``tests/``, as narrow as is honest: it fails once ``new`` is in the place of ``old``.
    """

    name: str
    file: str
    old: str
    new: str
    found_by: str

    def planted_in(self, text: str) -> str:
        """The text of the file with the bug in it; LookupError where it has no single place."""
        places = text.count(self.old)
        if places != 1:
            raise LookupError(f"{self.file} has {places} places for: {self.name}")
        return text.replace(self.old, self.new)
