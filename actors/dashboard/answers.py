"""Answers: what is sent, and the headers on every one of them; what each error becomes.

Nothing is kept by a browser or proxy, read by another site, or put into a frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen
from starlette.responses import Response

from meerkat.errors import (
    CallTimedOut,
    ControlPlaneStopped,
    InputNotFound,
    InputValidationFailed,
    InternalError,
    InvalidState,
    LoopClosed,
    MeerkatError,
    Overloaded,
    PolicyRefused,
    RecoveryCorruption,
    RuntimeNotFound,
    RuntimeUnavailable,
    StoreError,
    WouldDeadlock,
)
from meerkat.json_values import dump

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer, refusals included."""


@frozen
class Refusal:
    """What is answered instead; its text is what a person reads."""

    status: int
    code: str
    text: str
    headers: Mapping[str, str] = field(factory=dict)


class Refused(Exception):
    """A request cannot be answered; ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def bad_request(text: str) -> Refused:
    """What was asked cannot be meant."""
    return Refused(Refusal(400, "bad_request", text))


def not_live() -> Refused:
    """Only a running control plane could say."""
    return Refused(Refusal(404, "not_live", "This page shows a store: nothing runs behind it."))


STATUS_OF: Final[Mapping[type[Exception], int]] = {
    InputValidationFailed: 400,
    RuntimeNotFound: 404,
    InputNotFound: 404,
    InvalidState: 409,
    PolicyRefused: 409,
    WouldDeadlock: 409,
    Overloaded: 429,
    InternalError: 500,
    CallTimedOut: 503,
    ControlPlaneStopped: 503,
    LoopClosed: 503,
    RecoveryCorruption: 503,
    RuntimeUnavailable: 503,
    StoreError: 503,
}
"""The library's errors, each with its status; a kind of one has the same."""

_OUR_FAULT: Final = 500


def refusal_of(error: MeerkatError) -> Refusal:
    """How an error of the library is answered: by its own code and text."""
    kinds = (STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
    return Refusal(next(kinds, _OUR_FAULT), error.code, str(error))


def refused(refusal: Refusal) -> Response:
    """The answer to what is refused."""
    document = {"error": {"code": refusal.code, "text": refusal.text}}
    return Response(
        dump(document), refusal.status, dict(refusal.headers), media_type="application/json"
    )


def json_answer(encoded: bytes) -> Response:
    """An answer that is a JSON document."""
    return Response(encoded, media_type="application/json")


def with_headers(answer: Response) -> Response:
    """The same, with what is on every answer."""
    answer.headers.update(HEADERS)
    return answer
