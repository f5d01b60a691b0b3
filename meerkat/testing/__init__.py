"""The test kit: what hosts test their executors, policies, stores and sessions with.

We test meerkat with it, too. It is the one part of ``meerkat`` that knows of ``actors``, and
nothing that runs knows of it. It needs the extra ``[testing]``. A name is loaded when it is
first asked for, so that a child process with one fail point does not wait for Hypothesis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meerkat.testing import invariants, strategies
    from meerkat.testing.apsw_binding import apsw_connect
    from meerkat.testing.fail_points import (
        FailPoint,
        FailPoints,
        PointReached,
    )
    from meerkat.testing.faulty_binding import FaultyBinding
    from meerkat.testing.faulty_store import (
        FaultyStore,
        StoreCall,
        StoreFault,
        When,
        commit_unknown,
        disk_full,
        io_error,
    )
    from meerkat.testing.invariants import (
        InvariantBroken,
        Promises,
    )
    from meerkat.testing.kills import (
        Death,
        Lives,
    )
    from meerkat.testing.power_loss import RecordingDisk
    from meerkat.testing.power_loss_states import PowerLossState
    from meerkat.testing.processes import (
        Child,
        ChildFailed,
        Children,
        Told,
    )
    from meerkat.testing.simulation import (
        Faults,
        ProcessKilled,
        Simulation,
        Stuck,
    )
    from meerkat.testing.state_machine import RuntimeStateMachine
    from meerkat.testing.store_agreement import (
        disagreement,
        store_scripts,
    )
    from meerkat.testing.store_conformance import (
        SharedStoreConformance,
        StoreCapability,
        StoreConformance,
    )
    from meerkat.testing.store_wrapper import StoreWrapper

__all__ = [
    "Child",
    "ChildFailed",
    "Children",
    "Death",
    "FailPoint",
    "FailPoints",
    "Faults",
    "FaultyBinding",
    "FaultyStore",
    "InvariantBroken",
    "Lives",
    "PointReached",
    "PowerLossState",
    "ProcessKilled",
    "Promises",
    "RecordingDisk",
    "RuntimeStateMachine",
    "SharedStoreConformance",
    "Simulation",
    "StoreCall",
    "StoreCapability",
    "StoreConformance",
    "StoreFault",
    "StoreWrapper",
    "Stuck",
    "Told",
    "When",
    "apsw_connect",
    "commit_unknown",
    "disagreement",
    "disk_full",
    "invariants",
    "io_error",
    "store_scripts",
    "strategies",
]

_WHERE: Final[dict[str, str]] = {
    "Child": "processes",
    "ChildFailed": "processes",
    "Children": "processes",
    "Death": "kills",
    "FailPoint": "fail_points",
    "FailPoints": "fail_points",
    "Faults": "simulation",
    "FaultyBinding": "faulty_binding",
    "FaultyStore": "faulty_store",
    "InvariantBroken": "invariants",
    "Lives": "kills",
    "PointReached": "fail_points",
    "PowerLossState": "power_loss_states",
    "ProcessKilled": "simulation",
    "Promises": "invariants",
    "RecordingDisk": "power_loss",
    "RuntimeStateMachine": "state_machine",
    "SharedStoreConformance": "store_conformance",
    "Simulation": "simulation",
    "StoreCall": "faulty_store",
    "StoreCapability": "store_conformance",
    "StoreConformance": "store_conformance",
    "StoreFault": "faulty_store",
    "StoreWrapper": "store_wrapper",
    "Stuck": "simulation",
    "Told": "processes",
    "When": "faulty_store",
    "apsw_connect": "apsw_binding",
    "commit_unknown": "faulty_store",
    "disagreement": "store_agreement",
    "disk_full": "faulty_store",
    "invariants": "invariants",
    "io_error": "faulty_store",
    "store_scripts": "store_agreement",
    "strategies": "strategies",
}
"""Which module has a name; its own, if it is a module."""

_EXTRAS: Final = frozenset({"apsw", "hypothesis", "pytest"})
"""What the kit stands on, and meerkat itself does not need."""


def __dir__() -> list[str]:
    """The names of the kit, loaded or not: what whoever looks around in a shell is shown."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """A name of the kit, from the module that has it."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = import_module(f"{__name__}.{_WHERE[name]}")
    except ModuleNotFoundError as missing:
        if missing.name not in _EXTRAS:
            raise
        raise ModuleNotFoundError(
            f"meerkat.testing.{name} needs {missing.name}: "
            "pip install 'meerkat-runtime[testing]' pytest",
            name=missing.name,
        ) from None
    return found if _WHERE[name] == name else getattr(found, name)
