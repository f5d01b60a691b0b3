"""Actions: what a page does that may do something. One call by name, with its report."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from actors.dashboard.answers import Refusal, Refused, bad_request, json_answer
from actors.dashboard.desk import Desk
from actors.verbs import PICKS, VERBS, picked
from meerkat.errors import DecodeError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.json_values import dump, parse

BODY_BYTES_MAX: Final = 64 * 1024
"""The longest body of a request: a verb, a runtime, and a thousand ids."""

BODY_S: Final = 10.0
"""How long the body of a request may take to arrive."""

_READ_ONLY: Final = Refusal(
    403, "read_only", "This page only shows; start it with allow_actions to act from it."
)
_TOO_LARGE: Final = Refusal(413, "too_large", f"More than {BODY_BYTES_MAX} bytes were sent.")
_TOO_SLOW: Final = Refusal(400, "too_slow", f"It took more than {BODY_S:g} s to arrive.")
_BUSY: Final = Refusal(
    429, "busy", "Other actions are under way: wait for one of them.", {"retry-after": "1"}
)
_MEANT: Final = frozenset({"id", "verb", *PICKS})
_NOT_JSON: Final = "the body is to be one JSON object, sent as application/json"


async def act(desk: Desk, request: Request) -> Response:
    """Do what the body says, and answer with the report."""
    if not desk.allow_actions:
        raise Refused(_READ_ONLY)
    body = await _body(request)
    surplus = body.keys() - _MEANT
    if surplus:  # of another version: without it, more may be done than was meant
        raise bad_request(f"{', '.join(sorted(surplus))}: nothing that this page knows of")
    named = body.get("verb")
    verb = VERBS.get(named) if isinstance(named, str) else None
    if verb is None:
        raise bad_request(f"verb: one of {', '.join(VERBS)}")
    try:
        inputs = picked(verb, body)
    except ValueError as error:
        raise bad_request(str(error)) from None
    if desk.acts.all_busy:
        raise Refused(_BUSY)
    call = partial(desk.source.act, verb, _runtime_id(body.get("id")), **inputs)
    return json_answer(await desk.acts.do(lambda: dump(call())))


def _runtime_id(named: Any) -> LogicalRuntimeId:
    try:
        return LogicalRuntimeId(named)
    except (ValueError, TypeError):
        raise bad_request("id: names no runtime") from None


async def _body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise bad_request(_NOT_JSON)
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                received += chunk
                if len(received) > BODY_BYTES_MAX:
                    raise Refused(_TOO_LARGE)
        body = parse(bytes(received))
    except TimeoutError:
        raise Refused(_TOO_SLOW) from None
    except DecodeError:
        raise bad_request(_NOT_JSON) from None
    if not isinstance(body, dict):
        raise bad_request(_NOT_JSON)
    return body
