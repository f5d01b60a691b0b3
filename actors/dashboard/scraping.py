"""Scraping: a plane's figures as Prometheus reads them, behind the page's token like all else.

For who has no other way into the process: a host registers the collector of ``actors.prometheus``
with its own metrics. The extra is loaded when somebody asks; without it, that is said.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from starlette.responses import Response

from actors.dashboard.answers import Refusal, Refused
from actors.metrics import Measured

if TYPE_CHECKING:
    from types import ModuleType


def exposition(plane: Measured) -> Response:
    """The figures as text; Refused without the extra. It waits for nothing."""
    prometheus = _prometheus()
    media_type, text = prometheus.exposition(plane)
    return Response(text, headers={"content-type": media_type})


def _prometheus() -> ModuleType:
    try:
        return importlib.import_module("actors.prometheus")
    except ModuleNotFoundError as missing:
        raise Refused(Refusal(501, "not_installed", str(missing))) from missing
