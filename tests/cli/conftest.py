"""Every test of the command line has a folder of its own, and stands in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import LOGGING_EXECUTOR


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, but for a module of executors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "executors.py").write_text(LOGGING_EXECUTOR)
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    sys.modules.pop("executors", None)
