"""A service on threads: one endpoint takes messages in, one tells what became of them.

    python examples/wsgi_service.py
    curl -i localhost:8000/sessions/bag/messages -H 'Idempotency-Key: 1' -d '{"text": "Where?"}'
    curl localhost:8000/sessions/bag/events -H 'Last-Event-ID: 0'

Any WSGI server with threads will do; this one is the standard library's. The 202 is given when
the message is on disk. The events are those behind the last one that the client names; where
there are none yet, the answer waits for one. SIGTERM and Ctrl-C end the ``with`` block, which
stops the sessions in order.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from actors import ControlPlane
from meerkat import (
    Accepted,
    Deduplicated,
    EventGap,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
    to_json,
)
from meerkat.errors import (
    ControlPlaneStopped,
    InputValidationFailed,
    InvalidState,
    Overloaded,
    RuntimeControlPlaneError,
)
from meerkat.store import SqliteStore

WAIT_S: Final = 10.0
"""Seconds that a request for events waits for the first one."""

BODY_BYTES_MAX: Final = 1_048_576
"""What is longer would be refused at the control plane's door anyway."""

STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    InputValidationFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidState: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    ControlPlaneStopped: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What a refusal is in HTTP; any other one is a 500. A 503 is worth another try."""

Answer = tuple[HTTPStatus, bytes]


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """A thread for each request; none of them keeps the process alive."""

    daemon_threads = True


def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
    """Your model goes here."""
    answer = f"Noted, after {len(context.messages)} messages: {primitive.text}"
    asked = {"role": "user", "content": primitive.text}
    return RunOutput(append=[asked, {"role": "assistant", "content": answer}], result=answer)


def take_message(plane: ControlPlane, session: str, request: WSGIEnvironment) -> Answer:
    body_bytes = int(request.get("CONTENT_LENGTH") or 0)
    if body_bytes > BODY_BYTES_MAX:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said({"error": "the body is too long"})
    try:
        text = str(json.loads(request["wsgi.input"].read(body_bytes))["text"])
    except (ValueError, KeyError, TypeError):
        return HTTPStatus.BAD_REQUEST, said({"error": 'the body is {"text": "…"}'})
    plane.register(session)  # again it changes nothing
    key = request.get("HTTP_IDEMPOTENCY_KEY")
    match plane.ingest(session, PromptInput(text, idempotency_key=key)):
        case Accepted(input_id=input_id) | Deduplicated(existing_id=input_id):
            return HTTPStatus.ACCEPTED, said({"input_id": str(input_id)})
        case rejected:
            return HTTPStatus.UNPROCESSABLE_ENTITY, said({"error": str(rejected)})


def tell_events(plane: ControlPlane, session: str, request: WSGIEnvironment) -> Answer:
    last = request.get("HTTP_LAST_EVENT_ID")
    if last is not None and not last.isdecimal():
        return HTTPStatus.BAD_REQUEST, said({"error": "Last-Event-ID is the number of an event"})
    plane.register(session)
    found: list[dict[str, Any]] = []
    with plane.subscribe(session, None if last is None else int(last)) as events:
        event = events.next_within(WAIT_S)
        while event is not None:
            gap = isinstance(event, EventGap)
            number = event.dropped_through if isinstance(event, EventGap) else event.sequence
            found.append({"id": number, "gap": gap, "data": json.loads(to_json(event))})
            event = events.next_ready()
    return HTTPStatus.OK, said(found)


def said(value: object) -> bytes:
    return json.dumps(value).encode()


ROUTES: Final[dict[tuple[str, str], Callable[[ControlPlane, str, WSGIEnvironment], Answer]]] = {
    ("POST", "messages"): take_message,
    ("GET", "events"): tell_events,
}


def service(plane: ControlPlane) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """The service in front of a control plane, for any WSGI server with threads."""

    def app(request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        status, body = answered(request)
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start(f"{status.value} {status.phrase}", headers)
        return [body]

    def answered(request: WSGIEnvironment) -> Answer:
        path = request["PATH_INFO"].strip("/").split("/")
        if len(path) != 3 or path[0] != "sessions":  # noqa: PLR2004 - sessions, which one, what
            return HTTPStatus.NOT_FOUND, b"{}"
        route = ROUTES.get((request["REQUEST_METHOD"], path[2]))
        if route is None:
            return HTTPStatus.NOT_FOUND, b"{}"
        try:
            return route(plane, path[1], request)
        except RuntimeControlPlaneError as error:
            kinds = (STATUS[kind] for kind in type(error).mro() if kind in STATUS)
            return next(kinds, HTTPStatus.INTERNAL_SERVER_ERROR), said(
                {"error": error.code, "detail": str(error)}
            )

    return app


if __name__ == "__main__":
    with (
        suppress(KeyboardInterrupt),
        ControlPlane(SqliteStore("sessions.db"), agent) as plane,
        make_server("127.0.0.1", 8000, service(plane), server_class=ThreadingServer) as server,
    ):
        server.serve_forever()
