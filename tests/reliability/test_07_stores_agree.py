"""Stores agree: one script has the same answers and reads on each, and each keeps every promise."""

from stores_here import TestMemoryStore, TestSqliteStore  # noqa: F401
