"""Builders: requests as a browser, a program or an attacker sends them, and what is answered.

A request is handed to the application as a server hands it over, so that a test may send what
no client would: two Hosts, say. Of an answer that goes on, the first piece is read, and then
the reader goes away.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import field, frozen
from starlette.types import ASGIApp, Message

from actors import ControlPlane
from actors.dashboard import Dashboard
from meerkat import PromptInput, RunContext, RunOutput, StagedInput
from meerkat.events import ProjectionEvent, RuntimeEventEnvelope
from meerkat.limits import Backoff
from meerkat.store import RuntimeStore

WAIT_S = float(os.environ.get("MEERKAT_WAIT_S", "10"))
TOKEN = "the-token-of-this-page"
HOST = "localhost:8000"
ORIGIN = "http://localhost:8000"

Header = tuple[str, str]


@frozen
class Asking:
    """One request."""

    path: str
    method: str = "GET"
    query: str = ""
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    more_body: bool = False
    scheme: str = "http"
    root_path: str = ""


@frozen
class Answer:
    """What came of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


def with_token(*more: Header, host: str = HOST, token: str = TOKEN) -> tuple[Header, ...]:
    """What a program sends."""
    return (("host", host), ("authorization", f"Bearer {token}"), *more)


def with_cookie(page: Dashboard, *more: Header, host: str = HOST) -> tuple[Header, ...]:
    """What a browser sends that was let in."""
    guard = page._guard
    return (("host", host), ("cookie", f"{guard.cookie_name}={guard.cookie_value}"), *more)


def answer_to(app: ASGIApp, asking: Asking) -> Answer:
    """What the application answers, on a loop of its own."""

    async def main() -> Answer:
        async with asyncio.timeout(WAIT_S):
            return await answered(app, asking)

    return asyncio.run(main())


async def answered(app: ASGIApp, asking: Asking) -> Answer:
    """What the application answers, on this loop."""
    started: list[Message] = []
    pieces: list[bytes] = []
    sent, gone = [False], asyncio.Event()

    async def receive() -> Message:
        if not sent[0]:
            sent[0] = True
            return {"type": "http.request", "body": asking.body, "more_body": asking.more_body}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
        else:
            pieces.append(message.get("body", b""))
            gone.set()

    await app(scope_of(asking), receive, send)
    (start,) = started
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(pieces))


def scope_of(asking: Asking) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asking.method,
        "scheme": asking.scheme,
        "path": asking.root_path + asking.path,
        "raw_path": (asking.root_path + asking.path).encode(),
        "root_path": asking.root_path,
        "query_string": asking.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in asking.headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }


def read(page: ASGIApp, path: str, query: str = "") -> Any:
    """The document that a program gets."""
    answer = answer_to(page, Asking(path, query=query, headers=with_token()))
    assert answer.status == 200, answer.body
    return answer.json


CANARY = "tweet-tweet-4711"
"""What came from outside: nobody is told who has not asked for it."""


@contextmanager
def planted(store: RuntimeStore) -> Iterator[ControlPlane]:
    """Three inputs of *a* have ended, and one of *b* waits."""
    with ControlPlane(store, agent_of(CANARY), backoff=Backoff(base_s=0.001)) as plane:
        plane.register_many(["a", "b"])
        for number in range(3):
            offered = PromptInput(f"{CANARY} {number}", idempotency_key=f"{CANARY}-{number}")
            plane.completion("a", plane.ingest("a", offered)).result(WAIT_S)
        plane.pause("b")
        plane.ingest("b", PromptInput(CANARY, idempotency_key=CANARY))
        said = ProjectionEvent({"said": CANARY})
        plane.publish_event(RuntimeEventEnvelope(runtime_id="a", event=said))
        yield plane


def agent_of(text: str) -> Callable[[RunContext, StagedInput], RunOutput]:
    """An executor that says ``text`` wherever it can."""

    def agent(context: RunContext, primitive: StagedInput) -> RunOutput:
        context.progress(text)
        said = [{"role": "user", "content": primitive.text}, {"role": "assistant", "content": text}]
        return RunOutput(append=said, result=text)

    return agent


def lines_of(pieces: Iterable[bytes]) -> list[str]:
    """The lines of a stream, blank ones and signs of life left out."""
    text = b"".join(pieces).decode()
    return [line for line in text.splitlines() if line not in {"", ":"}]
