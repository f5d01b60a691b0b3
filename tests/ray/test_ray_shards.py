"""Shards as Ray runs them: in processes of their own, killed, divided anew, and left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import ray
from ray_builders import LONG_S, answer, ray_plane, until

from actors.ray import RayControlPlane, cluster, control_plane
from actors.ray.cluster import NAMESPACE, RayShard
from actors.ray.remote import ShardAway
from actors.ray.shard import shard_name
from actors.ray.wire import Welcome
from meerkat import Accepted, PromptInput, RunOutput, RuntimeEventEnvelope
from meerkat.errors import CallTimedOut, ControlPlaneStopped, StoreError
from meerkat.store import PostgresStore
from meerkat.testing.postgres_server import postgres_url

pytestmark = pytest.mark.usefixtures("ray_here")

NAMES = [f"agent-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def plane(ray_here: None) -> Iterator[RayControlPlane]:
    with ray_plane(answer) as started:
        started.register_many(NAMES, timeout=LONG_S)
        yield started


def name_of(plane: RayControlPlane) -> str:
    """What its shards are called by."""
    remote: Any = plane._shards.board.lines("test", 0)[0].remote
    return str(remote.name).rpartition("-shard-")[0]


def is_away(*_: object) -> Welcome:
    raise ShardAway("it does not answer")


def worked(plane: RayControlPlane, texts: int = 1) -> None:
    """Every runtime answers so many inputs."""
    sent = [
        (name, str(number), plane.submit(name, PromptInput(str(number))))
        for number in range(texts)
        for name in NAMES
    ]
    for _name, text, each in sent:
        assert isinstance(each.accepted.result(LONG_S), Accepted)
        assert each.completion.result(LONG_S).result[0] == text  # type: ignore[index,call-overload]


def test_each_shard_is_a_process_and_none_of_them_is_this_one(plane: RayControlPlane) -> None:
    worked(plane, 5)
    looks = plane.shards()
    assert [(look.number, look.of) for look in looks] == [(0, 2), (1, 2)]
    assert len({look.pid for look in looks} | {os.getpid()}) == 3
    assert all(look.figures and look.figures.consumed for look in looks)
    assert plane.figures().consumed == sum(look.figures.consumed for look in looks if look.figures)


def test_an_executor_that_is_attached_goes_there_by_value(plane: RayControlPlane) -> None:
    word = "attached"

    def attached(context: object, primitive: object) -> RunOutput:
        return RunOutput(result=word)

    plane.register("attached", timeout=LONG_S)
    plane.attach_executor("attached", attached, timeout=LONG_S)
    sent = plane.submit("attached", PromptInput("x"))
    assert sent.completion.result(LONG_S).result == word


def killed_by_ray(plane: RayControlPlane, name: str) -> None:
    handle = ray.get_actor(name, namespace=NAMESPACE)
    ray.kill(handle, no_restart=False)


def killed_for_good(plane: RayControlPlane, name: str) -> None:
    handle = ray.get_actor(name, namespace=NAMESPACE)
    ray.kill(handle, no_restart=True)


def killed_by_the_system(plane: RayControlPlane, name: str) -> None:
    number = int(name.rpartition("-")[2])
    pid = plane.shards()[number].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [killed_by_ray, killed_by_the_system, killed_for_good])
def test_a_shard_that_is_killed_comes_back_and_every_answer_arrives(
    plane: RayControlPlane, kill: Callable[[RayControlPlane, str], None]
) -> None:
    feed = plane.subscribe(NAMES[0], timeout=LONG_S)
    worked(plane)
    before = {look.pid for look in plane.shards()}
    sent = [plane.submit(NAMES[number % 8], PromptInput(f"{number}")) for number in range(400)]
    kill(plane, shard_name(name_of(plane), 1))
    kinds = [each.completion.result(LONG_S).kind.value for each in sent]
    assert kinds == ["completed"] * len(sent)
    assert {type(each.accepted.result(LONG_S)) for each in sent} == {Accepted}
    worked(plane)
    until(lambda: len({look.pid for look in plane.shards()} - before - {None}) == 1)
    assert isinstance(feed.next_within(LONG_S), RuntimeEventEnvelope)
    feed.close()


def test_a_shard_that_hangs_is_replaced_and_every_answer_arrives() -> None:
    with ray_plane(answer, shards=1, silent_max_s=1.5) as plane:
        plane.register_many(NAMES, timeout=LONG_S)
        worked(plane)
        (look,) = plane.shards()
        assert look.pid is not None
        os.kill(look.pid, signal.SIGSTOP)
        sent = [plane.submit(name, PromptInput(f"{name} waits")) for name in NAMES]
        assert {type(each.accepted.result(LONG_S)) for each in sent} == {Accepted}
        kinds = {each.completion.result(LONG_S).kind.value for each in sent}
        assert kinds == {"completed"}
        assert plane.shards()[0].pid != look.pid


def test_the_runtimes_are_divided_anew_while_they_work() -> None:
    with ray_plane(answer) as plane:
        plane.register_many(NAMES, timeout=LONG_S)
        sent = [plane.submit(NAMES[number % 8], PromptInput(f"{number}")) for number in range(100)]
        plane.reshard(shards=1, timeout=LONG_S)
        sent += [plane.submit(NAMES[number % 8], PromptInput(f"{number}")) for number in range(50)]
        assert [each.completion.result(LONG_S).kind.value for each in sent] == ["completed"] * 150
        assert {type(each.accepted.result(0)) for each in sent} == {Accepted}
        assert [(look.number, look.of) for look in plane.shards()] == [(0, 1)]


def test_another_front_door_is_one_to_the_same_shards(
    plane: RayControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "NAME_FREE_S", 0.1)
    name = name_of(plane)
    other = RayControlPlane.wrap(name)
    outcome = other.ingest(NAMES[1], PromptInput("from another"), timeout=LONG_S)
    assert plane.completion(NAMES[1], outcome).result(LONG_S).kind == "completed"
    assert plane.shards()[0].front_doors == 2
    with monkeypatch.context() as slow:
        slow.setattr(control_plane, "START_WITHIN_S", 0.1)
        slow.setattr(RayShard, "hello", is_away)
        with pytest.raises(CallTimedOut):
            RayControlPlane.wrap(name)
    worked(plane)  # who came and went has ended nothing
    with pytest.raises(StoreError, match="runs already"):
        RayControlPlane(postgres_url(), answer, name=name, schema=name).start()
    with pytest.raises(ControlPlaneStopped, match="no shard"):
        RayControlPlane.wrap("nobody")
    with pytest.raises(TypeError, match="by their name"):
        RayControlPlane.wrap(plane)


def test_a_cluster_of_another_size_on_the_same_database_is_refused_and_nothing_is_lost(
    plane: RayControlPlane,
) -> None:
    name = name_of(plane)
    other = ray_plane(answer, schema=name, shards=3)
    with pytest.raises(StoreError, match="3"):
        other.start()
    worked(plane)


def test_a_database_that_is_not_there_is_said_at_the_start() -> None:
    plane = RayControlPlane("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1", answer)
    with pytest.raises(StoreError, match="127"):
        plane.start()


DETACHED = """\
import logging, sys
import ray
from ray_builders import LONG_S, QUIET, answer, ray_plane
from meerkat import PromptInput
ray.init(address={address!r}, **QUIET)
plane = ray_plane(answer, name={name!r}, schema={name!r}, detached=True).start()
plane.register("a", timeout=LONG_S)
print(plane.ingest("a", PromptInput("left behind"), timeout=LONG_S).input_id, flush=True)
sys.stdout.flush()
import os
os._exit(0)
"""


def test_shards_that_are_detached_outlive_who_has_placed_them() -> None:
    address, name = ray.get_runtime_context().gcs_address, "left"
    program = DETACHED.format(address=address, name=name)
    env = {**os.environ, "MEERKAT_POSTGRES_URL": postgres_url()}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, check=True, capture_output=True, timeout=LONG_S
    )
    said = done.stdout.decode().split()[-1]
    plane = RayControlPlane.wrap(name)
    assert said in {str(each) for each in plane.active_input_ids("a")} or plane.figures().consumed
    plane.stop()
    until(lambda: name not in str(ray.util.list_named_actors(all_namespaces=True)))
    store = PostgresStore(postgres_url(), schema=name)
    assert [str(each.runtime_id) for each in store.list_runtimes().items] == ["a"]
    store.close()
