"""What a class of ours replaces of its bases is meant: an actor has many names from elsewhere.

A method that happens to have the name of one that a base calls is called in its place, and a
checker of types finds nothing wrong with it as long as the two look alike. So whatever replaces
something that can be called, or anything of another library's, stands in the table here. What a
base leaves open need not.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any

import actors
import meerkat
from actors.door import Door
from actors.pool import PooledActor

FUTURE = {"_condition", "_done_callbacks", "_exception", "_result", "_state", "_waiters"}
INPUT = {"kind", "requested_mode"}

MEANT: dict[str, set[str]] = {
    "actors.contained.Contained": {"_actor_loop", "_start_actor_loop", "_stop"},
    "actors.contained.ContainedActor": {"_create_actor_inbox", "use_daemon_thread"},
    "actors.contained._OnThread": {"_create_future", "_start_actor_loop"},
    "actors.coroutine_runs.CoroutineRun": {"cancel"},
    "actors.dashboard.serving._Hurried": {
        "connection_lost",
        "connection_made",
        "data_received",
        "on_response_complete",
    },
    "actors.driver.DriverActor": {
        "before_turn",
        "on_dead_letter",
        "on_message_failed",
        "on_receive",
    },
    "actors.host_loop.HostLoop": {"_wind_up", "begin", "call", "is_missed", "is_used", "stop"},
    "actors.journal.JournalActor": {"on_message_failed", "on_receive", "on_stop"},
    "actors.light.LightAnswer": {"_condition", "get"},
    "actors.light.LightEvent": {"_cond", "_flag", "wait"},
    "actors.light.LightFuture": FUTURE,
    "actors.pool.PooledActor": {
        "_actor_ref",
        "_create_actor_inbox",
        "_create_future",
        "_start_actor_loop",
        "_stop",
        "actor_inbox",
        "actor_stopped",
        "actor_urn",
        "start",
    },
    "actors.prometheus.PlaneCollector": {"collect"},
    "actors.ray.control_plane.RayControlPlane": {"subscribe", "watch", "wrap"},
    "actors.ray.door.RayDoor": {name for name in vars(Door) if not name.startswith("_")}
    - {"ask", "read", "register_session", "system"},
    "actors.ray.far_bindings._FarCursors": {"_advance"},
    "actors.replies.Awaited": {"_condition", "add_done_callback", "done", "exception", "result"},
    "actors.replies.Handle": {"waits"},
    "actors.replies.Reply": {"cancel", "waits"},
    "actors.supervisor.RuntimeSupervisor": {
        "_actor_ref",
        "on_failure",
        "on_receive",
        "on_start",
        "on_start_failed",
        "on_stop",
    },
    "actors.threaded.ActorThreads": {"busy", "schedule", "stop"},
    "actors.threaded.ThreadedActor": {
        "_actor_loop",
        "_start_actor_loop",
        "end_at_rest",
        "use_daemon_thread",
    },
    "actors.traces.EndReply": {"fail", "give"},
    "actors.traces.OfferReply": {"fail", "give"},
    "actors.tree.Supervisor": {
        "_actor_ref",
        "on_failure",
        "on_receive",
        "on_start",
        "on_stop",
        "start",
        "tell_started",
    },
    "meerkat.drivers.EphemeralRuntimeDriver": {"_memory"},
    "meerkat.drivers.PersistentRuntimeDriver": {
        "_do",
        "_make_durable",
        "_memory",
        "_remembered",
        "recover",
        "set_silent_intents",
    },
    "meerkat.identifiers.LogicalRuntimeId": {"_check"},
    "meerkat.identifiers._NamedKey": {"_check"},
    "meerkat.inputs.ContinuationInput": INPUT,
    "meerkat.inputs.ExternalEventInput": INPUT,
    "meerkat.inputs.FlowStepInput": INPUT,
    "meerkat.inputs.OperationInput": {"kind"},
    "meerkat.inputs.PeerInput": INPUT,
    "meerkat.inputs.PromptInput": INPUT,
    "meerkat.outcomes.CompletionHandle": {"cancel"},
    "meerkat.store.postgres.PostgresStore": {"_key", "_look", "_rows"},
    "meerkat.store.sqlite.SqliteStore": {"_look", "_rows"},
}
"""A class → what it replaces, of whichever base."""

ANYBODYS = ("typing", "abc", "builtins")
MADE = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}
CALLED = (staticmethod, classmethod, property)


@cache
def written(kind: type) -> frozenset[str]:
    """What stands in a class, and what its methods set on ``self``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # not written in Python
        return frozenset(vars(kind))
    set_on_self = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return frozenset(vars(kind)) | set_on_self


def is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("meerkat", "actors")


def called(base: type, name: str) -> bool:
    """Does the base have something of that name that it, or anybody, may call?"""
    value: Any = vars(base).get(name)
    is_open = name in getattr(base, "__abstractmethods__", ()) or base.__dict__.get("_is_protocol")
    return not is_open and (inspect.isfunction(value) or isinstance(value, CALLED))


def replaced(kind: type) -> set[str]:
    """What a class has anew that a base of ours calls, or that another library's has at all."""
    bases = [base for base in kind.__mro__[1:] if base.__module__ not in ANYBODYS]
    names = {name for name in written(kind) - MADE if not name.startswith("__")}
    return {
        name
        for name in names
        for base in bases
        if (called(base, name) if is_ours(base) else name in written(base))
    }


def classes() -> Iterator[type]:
    """Every class of both packages but the test kit's, and but words: nobody calls those."""
    for package in (meerkat, actors):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.startswith("meerkat.testing") or found.name.endswith("__main__"):
                continue
            try:
                module = importlib.import_module(found.name)
            except ImportError:  # of an extra that is not installed here
                continue
            for value in list(vars(module).values()):
                named = inspect.isclass(value) and value.__module__ == found.name
                if named and not issubclass(value, Enum):
                    yield value


def test_what_is_replaced_is_meant() -> None:
    found = {f"{kind.__module__}.{kind.__qualname__}": replaced(kind) for kind in classes()}
    here = {name: names for name, names in MEANT.items() if name in found}
    assert "actors.driver.DriverActor" in here
    assert {name: names for name, names in found.items() if names} == here


def test_a_name_that_is_taken_by_chance_is_found() -> None:
    class Astray(PooledActor):
        def refuse(self, why: object) -> None:  # which the mailbox calls, with a letter
            self.letters = why  # type: ignore[misc,assignment]
            self.actor_inbox = why

    assert replaced(Astray) == {"refuse", "letters", "actor_inbox"}
