"""The page of diagrams and tables says what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from meerkat.fail_points import FailPoint
from meerkat.input_lifecycle import InputPhase
from meerkat.runtime_lifecycle import RuntimeState

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import make_tables; print(make_tables.page(), end='')"],
        cwd=DOCS,
        capture_output=True,
        text=True,
        check=True,
    )
    there = (DOCS / "tables.md").read_text(encoding="utf-8")
    assert there == made.stdout, "run: python docs/make_tables.py"


def test_nothing_is_left_out() -> None:
    page = (DOCS / "tables.md").read_text(encoding="utf-8")
    for word in (*InputPhase, *RuntimeState, *FailPoint):
        assert str(word) in page
