"""Renewal: a changed copy of a frozen value, for the few that every step of a run renews.

``attrs.evolve`` asks each time which fields there are, and converts and validates them anew.
Here a copier is generated once for a class, as attrs generates its methods; it takes the
changes as they are, so it is for values the kernel itself has made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def renewer(cls: type[T]) -> Callable[..., T]:
    """A function ``(value, **changes)`` that gives a copy of a value of ``cls``, changed.

    The class is a slotted one of attrs; TypeError for a field it does not have.
    """
    names = [attribute.name for attribute in attrs.fields(cls)]  # type: ignore[arg-type]
    setters = {name: getattr(cls, name).__set__ for name in names}
    lines = [f"    set_{name}(made, value.{name})" for name in names]
    source = "\n".join(["def copied(value):", "    made = new(cls)", *lines, "    return made"])
    scope: dict[str, Any] = {f"set_{name}": setter for name, setter in setters.items()}
    scope |= {"new": object.__new__, "cls": cls}
    exec(source, scope)  # noqa: S102 - of the class's own field names
    copied = scope["copied"]

    def renewed(value: T, **changes: Any) -> T:
        made: T = copied(value)
        for name, change in changes.items():
            try:
                setters[name](made, change)
            except KeyError:
                raise TypeError(f"{cls.__name__} has no field {name}") from None
        return made

    return renewed
