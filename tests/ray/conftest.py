"""Everything here needs the extra ``[ray]``, and one Ray at a time: two cores carry no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILDERS = [str(ROOT), *(str(HERE.parent / each) for each in ("ray", "actors", "sessions"))]

for folder in reversed(BUILDERS):
    if folder not in sys.path:
        sys.path.insert(0, folder)
# The processes of shards import what the tests speak of, too.
os.environ["PYTHONPATH"] = os.pathsep.join([*BUILDERS, os.environ.get("PYTHONPATH", "")])
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them in one worker of a run on many."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray of this machine alone; at its end no process of it is left."""
    from ray_builders import local_ray  # noqa: PLC0415 - it imports Ray, which takes a while

    with local_ray():
        yield
