"""OpenTelemetry: a plane's traces and figures, for whatever the host's SDK exports to.

Only the API is used here; without an SDK all of it does nothing. What the spans are is in
``tracing``, what the instruments are in ``metrics``. Needs the extra ``otel``.
"""

from __future__ import annotations

try:
    import opentelemetry.trace as _api  # noqa: F401 - whether it is there
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"actors.otel needs {missing.name}: pip install 'meerkat-runtime[otel]'",
        name=missing.name,
    ) from missing

from actors.otel.metrics import observe
from actors.otel.tracing import OpenTelemetryTracing

__all__ = ["OpenTelemetryTracing", "observe"]
