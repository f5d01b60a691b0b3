"""A service in an event loop: one endpoint takes messages in, one streams what becomes of them.

    python examples/starlette_service.py
    curl -i localhost:8000/sessions/bag/messages -H 'Idempotency-Key: 1' -d '{"text": "Where?"}'
    curl -N localhost:8000/sessions/bag/events -H 'Last-Event-ID: 0'

The 202 is given when the message is on disk. A browser's EventSource names the last event that
it was told when it connects again, and goes on behind it; what is gone by then is told as an
event named ``gap``. Offered again with its key, a message is known: nothing runs twice.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypedDict

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from actors.aio import AsyncControlPlane, AsyncSubscription
from actors.executors import Executor
from meerkat import (
    Accepted,
    Deduplicated,
    EventGap,
    PromptInput,
    RunOutput,
    RuntimeEventEnvelope,
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
from meerkat.interfaces import AsyncRunContext
from meerkat.store import SqliteStore

KEEP_ALIVE_S: Final = 15.0
"""Seconds without an event after which a comment is sent: proxies close what is silent."""

STATUS: Final[dict[type[Exception], int]] = {
    InputValidationFailed: 422,
    InvalidState: 409,
    Overloaded: 503,
    ControlPlaneStopped: 503,
}
"""What a refusal is in HTTP; any other one is a 500. A 503 is worth another try."""


class State(TypedDict):
    """What the lifespan gives each request."""

    plane: AsyncControlPlane


async def agent(context: AsyncRunContext, primitive: StagedInput) -> RunOutput:
    """Your model goes here: this is the service's own loop, so its clients are at hand."""
    await asyncio.sleep(0)
    answer = f"Noted, after {len(context.messages)} messages: {primitive.text}"
    asked = {"role": "user", "content": primitive.text}
    return RunOutput(append=[asked, {"role": "assistant", "content": answer}], result=answer)


async def take_message(request: Request[State]) -> Response:
    plane, session = request.state["plane"], request.path_params["session"]
    try:
        text = str((await request.json())["text"])
    except (ValueError, KeyError, TypeError):
        raise HTTPException(400, 'the body is {"text": "…"}') from None
    await plane.register(session)  # again it changes nothing
    key = request.headers.get("idempotency-key")
    match await plane.ingest(session, PromptInput(text, idempotency_key=key)):
        case Accepted(input_id=input_id) | Deduplicated(existing_id=input_id):
            return JSONResponse({"input_id": str(input_id)}, 202)
        case rejected:
            raise HTTPException(422, str(rejected))


async def stream_events(request: Request[State]) -> Response:
    plane, session = request.state["plane"], request.path_params["session"]
    last = request.headers.get("last-event-id")
    if last is not None and not last.isdecimal():
        raise HTTPException(400, "Last-Event-ID is the number of an event")
    await plane.register(session)
    events = await plane.subscribe(session, None if last is None else int(last)).opened()
    return StreamingResponse(told(events), media_type="text/event-stream")


async def told(events: AsyncSubscription) -> AsyncIterator[bytes]:
    """The events as a browser reads them; a client that goes away ends the subscription."""
    async with events:
        yield b": connected\n\n"
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    event = await anext(events)  # a wait that is given up loses no event
            except TimeoutError:
                yield b": still here\n\n"
            except StopAsyncIteration:  # the service stops
                return
            else:
                yield written(event)


def written(event: RuntimeEventEnvelope | EventGap) -> bytes:
    if isinstance(event, EventGap):
        number, name = event.dropped_through, "gap"
    else:
        number, name = event.sequence, str(event.event.code)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), to_json(event))


async def refused(_request: Request, error: Exception) -> Response:
    status = next((STATUS[kind] for kind in type(error).mro() if kind in STATUS), 500)
    code = error.code if isinstance(error, RuntimeControlPlaneError) else "internal_error"
    return JSONResponse({"error": code, "detail": str(error)}, status)


def service(path: Path, executor: Executor = agent) -> Starlette:
    """The service over the sessions in ``path``; its plane lives as long as its lifespan."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        async with AsyncControlPlane(SqliteStore(path), executor) as plane:
            yield {"plane": plane}

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/sessions/{session}/messages", take_message, methods=["POST"]),
            Route("/sessions/{session}/events", stream_events),
        ],
        exception_handlers={RuntimeControlPlaneError: refused},
    )


if __name__ == "__main__":
    # Open streams would keep the server from stopping: after so long it closes them.
    uvicorn.run(service(Path("sessions.db")), timeout_graceful_shutdown=1)
