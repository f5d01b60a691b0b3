"""A node is removed under the load of the recorded sessions: its shard comes back on the other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

from airline import needs_recordings, recorded_inputs, replay
from checks import check_replayed
from ray_builders import LONG_S, ray_plane, two_nodes, until

from meerkat import Accepted, Input, from_json
from meerkat.store import PostgresStore
from meerkat.testing.postgres_server import postgres_url


@needs_recordings
def test_a_node_that_is_removed_costs_nothing_but_time(figure: Callable[[str], None]) -> None:
    lines = recorded_inputs()
    third = len(lines) // 3
    with two_nodes() as (cluster, node):
        options = {"num_cpus": 0, "resources": {"shards": 1}}
        with ray_plane(replay, schema="nodes", ray_options=options) as plane:
            plane.register_many({line["runtime_id"]: None for line in lines}, timeout=LONG_S)
            placed = [look.node for look in plane.shards()]
            assert len(set(placed)) == 2
            sent = []
            for number, line in enumerate(lines):
                offered = from_json(Input, json.dumps(line["input"]))
                sent.append(plane.submit(line["runtime_id"], offered))
                if number == third:
                    sent[third // 2].completion.result(LONG_S)
                    cluster.remove_node(node, allow_graceful=False)
            accepted = Counter(type(each.accepted.result(LONG_S)) for each in sent)
            ended = Counter(each.completion.result(LONG_S).kind.value for each in sent)
            until(lambda: None not in {look.node for look in plane.shards()})
            (left,) = {look.node for look in plane.shards()}
            assert left in placed
            assert left != node.node_id
            wire = plane.wire_figures()
        store = PostgresStore(postgres_url(), schema="nodes")
        check_replayed(store)
        store.close()
    assert accepted == {Accepted: len(lines)}
    assert ended == {"completed": len(lines)}
    assert wire.unknown == 0
    figure(
        f"a node removed: nodes removed under load 1; inputs {len(lines)}; "
        f"acknowledged inputs lost {accepted[Accepted] - ended['completed']}; "
        f"waits unanswered {len(lines) - sum(ended.values())}; transcripts that differ 0"
    )
