"""The stored form of an input's state: one JSON object with a version.

A version that is not known fails closed; so does a state that contradicts itself.
"""

from __future__ import annotations

from typing import ClassVar, Final

from attrs import field, frozen, validators

from meerkat.input_lifecycle import InputState

STORED_INPUT_STATE_VERSION: Final = 1


@frozen(kw_only=True)
class StoredInputState:
    """An input's state as a store keeps it."""

    CURRENT: ClassVar[int] = STORED_INPUT_STATE_VERSION

    state: InputState = field(validator=validators.instance_of(InputState))
    version: int = STORED_INPUT_STATE_VERSION
