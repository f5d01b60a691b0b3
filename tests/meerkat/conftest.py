"""One deterministic Hypothesis profile, and the runtimes most tests start from."""

from __future__ import annotations

import pytest
from builders import Clock, Runtime
from hypothesis import HealthCheck, settings

from meerkat import EphemeralRuntimeDriver
from meerkat.operations_registry import OpsLifecycleRegistry

settings.register_profile(
    "meerkat",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("meerkat")


@pytest.fixture
def driver() -> EphemeralRuntimeDriver:
    """An idle runtime without an executor."""
    return EphemeralRuntimeDriver("agent-1", now=Clock())


@pytest.fixture
def runtime() -> Runtime:
    """The kernel of an attached runtime, every effect of which can be looked at."""
    return Runtime()


@pytest.fixture
def registry() -> OpsLifecycleRegistry:
    """A registry of operations without any."""
    return OpsLifecycleRegistry(now=Clock())
