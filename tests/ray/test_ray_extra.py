"""Without the extra: everything else works, and who wants shards is told what to install."""

from __future__ import annotations

import subprocess
import sys

IMPORTED = """\
import sys
sys.modules["ray"] = None
try:
    import actors.ray
except ModuleNotFoundError as error:
    print(error)
"""


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return done.stdout.decode().strip()


def test_what_is_missing_is_said_with_what_to_install() -> None:
    said = printed(IMPORTED)
    assert said == "actors.ray needs ray: pip install 'meerkat-runtime[ray]'"


def test_nothing_of_it_is_loaded_with_the_package() -> None:
    names = printed("import sys, actors, actors.cli, actors.aio; print([*sys.modules])")
    assert "'ray'" not in names
    assert "'actors.ray'" not in names
