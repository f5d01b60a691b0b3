"""Copies: a frozen value with some of its fields changed, where that is done for every input.

``attrs.evolve`` looks each field up by its name; here cattrs writes a function that reads them
all. It is for values with many fields and no default made by a factory; anything else evolves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn, override

T = TypeVar("T")

_converter: Final = cattrs.Converter()


def changed(value: T, **changes: Any) -> T:
    """The same value but for ``changes``, built anew: what ``attrs.evolve`` gives.

    TypeError for a field that there is not.
    """
    cls: Any = type(value)
    fields = _fields_of(cls)(value)
    fields.update(changes)
    copy: T = cls(**fields)
    return copy


@functools.cache
def _fields_of(cls: Any) -> Callable[[Any], dict[str, Any]]:
    as_it_is: dict[str, Any] = {
        field.name: override(unstruct_hook=identity) for field in attrs.fields(cls)
    }
    return make_dict_unstructure_fn(cls, _converter, **as_it_is)
