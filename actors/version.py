"""Version: of what is installed."""

from __future__ import annotations

from importlib import metadata
from typing import Final

DISTRIBUTION: Final = "meerkat-runtime"


def version() -> str:
    """The version of the distribution, or that it is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "(not installed)"
