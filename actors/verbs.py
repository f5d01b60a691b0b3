"""Verbs: the calls that are made by hand, on a runtime named by whoever looks after it.

The command line and the page offer the same ones, under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from actors.control_plane import ControlPlane
from meerkat.identifiers import InputId
from meerkat.input_lifecycle import AbandonCause


@frozen(kw_only=True)
class Verb:
    """One of the calls. ``asks`` is what is said before it gives up what waits; None: nothing.

    ``call`` takes the plane, the name of a runtime, and ``timeout``; of a verb that ``picks``
    inputs also what :func:`picked` makes of a request.
    """

    call: Callable[..., Any]
    summary: str
    does: str
    asks: str | None = None
    picks: bool = False


VERBS: Final[Mapping[str, Verb]] = {
    "recover": Verb(
        call=ControlPlane.recover,
        summary="put right what a crash left",
        does="Put right what a crash left, and bring back one that was set aside.",
    ),
    "recycle": Verb(
        call=ControlPlane.recycle,
        summary="start over, with what waits kept",
        does="Start over with all that waits kept, in its order.",
    ),
    "redrive": Verb(
        call=ControlPlane.redrive,
        summary="bring back what was given up",
        does="Offer again what was given up: each input comes back once, as a new one.",
        picks=True,
    ),
    "pause": Verb(
        call=ControlPlane.pause,
        summary="start no run, until it is resumed",
        does="Start no run from now on, whoever has the database; inputs are taken in, and wait.",
    ),
    "resume": Verb(
        call=ControlPlane.resume,
        summary="start runs again",
        does="Let runs be started again, by whoever has the database next.",
    ),
    "retire": Verb(
        call=ControlPlane.retire,
        summary="take no more input",
        does="Take no more input. What waits is given up where nothing runs it.",
        asks="what waits is given up (inputs: {pending}) where nothing runs it; it takes no more",
    ),
    "stop": Verb(
        call=ControlPlane.stop_runtime,
        summary="give up what waits, until a reset",
        does="Give up what waits; only a reset revives it.",
        asks="what waits is given up (inputs: {pending}); only a reset revives it",
    ),
    "reset": Verb(
        call=ControlPlane.reset,
        summary="give up what waits, and start anew",
        does="Give up what waits, and begin a new epoch.",
        asks="what waits is given up (inputs: {pending}); a new epoch begins",
    ),
    "destroy": Verb(
        call=ControlPlane.destroy,
        summary="give up what waits, for good",
        does="Give up what waits, for good: from then on it is destroyed.",
        asks="what waits is given up (inputs: {pending}); it is gone for good",
    ),
}
"""The calls by name; what each promises in full stands in ``ControlPlane``."""


def picked(verb: Verb, request: Mapping[str, Any]) -> dict[str, Any]:
    """Which inputs a request picks, as keywords of the verb's call.

    ``input_ids`` and ``causes``, each a list of texts where it is there: as JSON has them.
    ValueError where they are none, or where the verb takes none.
    """
    given = {name: request[name] for name in PICKS if request.get(name) is not None}
    if given and not verb.picks:
        raise ValueError(f"{', '.join(given)}: not for this verb")
    return {name: _each_of(name, texts) for name, texts in given.items()}


PICKS: Final[Mapping[str, Callable[[str], Any]]] = {
    "input_ids": InputId.parse,
    "causes": AbandonCause,
}
"""What a request may pick by → what each of its texts is."""


def _each_of(name: str, texts: Any) -> tuple[Any, ...]:
    if not isinstance(texts, list):
        raise ValueError(f"{name}: a list is expected")  # noqa: TRY004 - whoever asks is told so
    try:
        return tuple(PICKS[name](each) for each in texts)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
