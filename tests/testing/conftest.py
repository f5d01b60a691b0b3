"""One deterministic Hypothesis profile for the tests of the kit."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "kit",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("kit")
