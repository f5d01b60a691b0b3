"""The scripts of benchmarks/ are no package: their folder is put on the path."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture(autouse=True)
def _connections_watched_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement watches every connection of its process; give that back afterwards."""
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", sqlite3.dbapi2.connect)
