"""The live page: what a control plane, or a store, holds and does, in a browser.

``Dashboard`` is an ASGI application for a host's own server; ``serve`` is one on a thread of
its own. It needs the extra ``[dashboard]``. Everything is refused but to who has the token.
"""

from __future__ import annotations

from typing import Final

_EXTRA: Final = frozenset({"starlette", "uvicorn"})
"""What the page stands on, and nothing else here needs."""

try:
    from actors.dashboard.app import Dashboard
    from actors.dashboard.serving import Served, serve
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in _EXTRA:
        raise
    raise ModuleNotFoundError(
        f"actors.dashboard needs {missing.name}: pip install 'meerkat-runtime[dashboard]'",
        name=missing.name,
    ) from None

__all__ = ["Dashboard", "Served", "serve"]
