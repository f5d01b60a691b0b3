"""Without the extra: everything else works, and who wants the page is told what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTED = """\
import sys
for missing in {missing!r}:
    sys.modules[missing] = None
try:
    import actors.dashboard
except ModuleNotFoundError as error:
    print(error)
"""


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_what_is_missing_is_said_with_what_to_install(missing: str) -> None:
    said = printed(IMPORTED.format(missing=[missing]))
    assert missing in said
    assert "pip install 'meerkat-runtime[dashboard]'" in said


def test_nothing_of_it_is_loaded_with_the_package() -> None:
    loaded = "import sys, actors, actors.cli, actors.aio, actors.access; print([*sys.modules])"
    names = printed(loaded)
    for name in ("starlette", "uvicorn", "'actors.dashboard'"):
        assert name not in names
