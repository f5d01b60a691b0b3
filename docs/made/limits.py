"""The page of limits: the numbers of the code, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from actors import settings
from actors.dashboard import actions, app, asked, desk, serving, sources, streams
from actors.settings import Settings
from made.markdown import MADE, said_of, table
from meerkat import limits
from meerkat.limits import Backoff, Limits, Retention
from meerkat.store import PostgresTimeouts

_HEAD: Final = f"""\
# Limits and settings

{MADE}
What happens past each of them stands in the table of the [README](../../README.md#limits).
"""

_PAGE: Final = {
    asked: ("PAGE_MAX", "PAYLOADS_MAX"),
    desk: ("READS_MAX", "ACTS_MAX"),
    sources: ("ACT_TIMEOUT_S",),
    streams: ("STREAMS_MAX", "BURST", "PIECE_BYTES", "PAUSE_S", "QUIET_S"),
    serving: ("HEAD_BYTES_MAX", "HEAD_S"),
    actions: ("BODY_BYTES_MAX", "BODY_S"),
    app: ("SEND_S",),
}
_CONSTANTS: Final = ("BATCH_INPUTS_MAX", "TEXT_BYTES_MAX", "JSON_DEPTH_MAX")


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            "## What a host may set\n",
            "By `ControlPlane(limits=Limits(…))`:\n",
            *table(("Field", "Default", "Bounds"), _fields(Limits)),
            "By `retention=Retention(…)`; see [retention](../how-to/retention.md):\n",
            *table(("Field", "Default", "Bounds"), _fields(Retention)),
            "By `backoff=Backoff(…)`, in seconds; an attempt waits",
            "`base_s * 2 ** (attempt - 1)`, at most `cap_s`, and between half and all of that:\n",
            *table(("Field", "Default"), (row[:2] for row in _fields(Backoff))),
            "By `ControlPlane(…)` itself:\n",
            *table(("Setting", "Default", "Says"), _settings()),
            "By `PostgresStore(…, timeouts=PostgresTimeouts(…))`, in seconds; see",
            "[PostgreSQL](../how-to/postgres.md):\n",
            *table(("Field", "Default", "Says"), _fields(PostgresTimeouts)),
            "## The live page\n",
            "What happens past each stands in [the page](../how-to/page.md#what-it-costs).\n",
            *table(("Name", "Value", "Says"), _of_the_page()),
            "## What is part of a format, or of how it works\n",
            *table(("Name", "Value", "Bounds"), _constants()),
        ]
    )


def _fields(of: type) -> Iterator[tuple[str, str, str]]:
    said = said_of(of.__module__, of.__name__)
    for each in attrs.fields(of):
        yield f"`{each.name}`", _number(each.default), said.get(each.name, "")


def _settings() -> Iterator[tuple[str, str, str]]:
    """Those that are numbers; the name of the default is the setting's, in capitals."""
    said = said_of(settings.__name__)
    for each in attrs.fields(Settings):
        text = said.get(each.name.upper()) or said.get(f"{each.name.upper()}_S")
        if text:
            yield f"`{each.name}`", _number(each.default), text


def _of_the_page() -> Iterator[tuple[str, str, str]]:
    for module, names in _PAGE.items():
        said = said_of(module.__name__)
        for name in names:
            yield f"`{name}`", _number(getattr(module, name)), said[name]


def _constants() -> Iterator[tuple[str, str, str]]:
    said = said_of(limits.__name__)
    for name in _CONSTANTS:
        yield f"`{name}`", _number(getattr(limits, name)), said[name]


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
