"""Makes the pages of the reference that the code already has, and their pictures.

Run it from the project's folder whenever a test says so: python docs/make_reference.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from made import command_line, limits, metrics, tables, way_of_an_input, who_has_what

DOCS: Final = Path(__file__).parent

PAGES: Final[Mapping[Path, Callable[[], str]]] = {
    DOCS / "reference" / "tables.md": tables.page,
    DOCS / "reference" / "command-line.md": command_line.page,
    DOCS / "reference" / "limits.md": limits.page,
    DOCS / "reference" / "metrics.md": metrics.page,
    DOCS / "images" / "input-steps.svg": tables.input_picture,
    DOCS / "images" / "runtime-steps.svg": tables.runtime_picture,
    DOCS / "images" / "way-of-an-input.svg": way_of_an_input.picture,
    DOCS / "images" / "who-has-what.svg": who_has_what.picture,
}
"""Each file that is made, and what makes its text."""

if __name__ == "__main__":
    for target, make in PAGES.items():
        target.write_text(make(), encoding="utf-8")
