"""A pytest plugin for the process that runs tests against a copy: what it saw, as JSON.

It imports both packages before any test does, and refuses to go on when they are not the
copy's. A failure counts for its reason: an assertion, a typed error of ours, or a bounded
wait of the test's own. A broken import, a name that is not there, or a test that had to be
interrupted is no finding: it would show that the copy is broken, not that the bug is seen.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import actors
import meerkat
from meerkat.errors import MeerkatError

COPY, REPORT = "MEERKAT_PLANTED_COPY", "MEERKAT_PLANTED_REPORT"
_HONEST = (AssertionError, MeerkatError, TimeoutError, pytest.fail.Exception)

_failures: list[dict[str, Any]] = []


def pytest_configure() -> None:
    copy = Path(os.environ[COPY])
    for package in (meerkat, actors):
        where = Path(str(package.__file__))
        if not where.is_relative_to(copy):
            raise pytest.UsageError(f"{where} was imported, and not the copy in {copy}")


def is_honest(error: BaseException) -> bool:
    """Does a failed test say what is wrong?"""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_honest, error.exceptions))
    return isinstance(error, _HONEST) and "from pytest-timeout" not in str(error)


def pytest_exception_interact(node: Any, call: pytest.CallInfo[Any]) -> None:
    assert call.excinfo is not None
    error = call.excinfo.value
    said = f"{type(error).__name__}: {error}".partition("\n")[0]
    _failures.append({"test": node.nodeid, "honest": is_honest(error), "said": said})


def pytest_sessionfinish() -> None:
    Path(os.environ[REPORT]).write_text(json.dumps(_failures))
