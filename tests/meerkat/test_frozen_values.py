"""What a host hands over is copied and frozen: nobody can change it afterwards."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from meerkat import PromptInput
from meerkat.json_values import FrozenObject, own


def test_the_hosts_object_is_not_ours() -> None:
    block: dict[str, Any] = {"type": "text", "text": "good"}
    offered = PromptInput([block])
    block["text"] = "changed"
    assert offered.content == ({"type": "text", "text": "good"},)


@pytest.mark.parametrize(
    "change",
    [
        lambda each: each.__setitem__("a", 2),
        lambda each: each.__delitem__("a"),
        lambda each: each.update(a=2),
        lambda each: each.setdefault("b", 2),
        lambda each: each.pop("a"),
        lambda each: each.popitem(),
        lambda each: each.clear(),
        lambda each: each.__ior__({"a": 2}),
    ],
)
def test_nobody_changes_an_owned_object(change: Any) -> None:
    owned = own({"a": 1, "deep": [{"a": 1}]})
    for each in (owned, owned["deep"][0]):
        with pytest.raises(TypeError, match="frozen"):
            change(each)
    assert owned == {"a": 1, "deep": ({"a": 1},)}


def test_an_owned_object_is_json_and_can_be_made_a_dict() -> None:
    owned = own({"a": [1]})
    assert isinstance(owned, FrozenObject)
    assert json.dumps(owned) == '{"a": [1]}'
    assert dict(owned) | {"b": 2} == {"a": (1,), "b": 2}
    assert copy.deepcopy(dict(owned)) == owned


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_a_copy_and_one_by_pickle_are_as_frozen(again: Any) -> None:
    owned = own({"a": 1, "deep": [{"a": 1}]})
    made = again(owned)
    assert made == owned
    for each in (made, made["deep"][0]):
        with pytest.raises(TypeError, match="frozen"):
            each["a"] = 2
