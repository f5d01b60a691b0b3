"""App: the page as an ASGI application, for a host to mount in its own, or for ``serve``.

A request is looked at by the guard, then looked up in the table of routes; whatever comes of
it, an error of ours included, becomes an answer here, with the headers that are on every one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from actors.clock import new_token
from actors.dashboard.answers import Refusal, Refused, refusal_of, refused, with_headers
from actors.dashboard.desk import Desk
from actors.dashboard.guard import UNAUTHORIZED, Guard
from actors.dashboard.routes import ROUTES, Route
from actors.dashboard.sources import Shown, source_of
from actors.logs import without_text
from meerkat.errors import MeerkatError

logger = logging.getLogger(__name__)

SEND_S: Final = 30.0
"""How long a reader may leave a piece of its answer unread before it has gone away."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]{16,512}")
"""What fits into a header and a URL, and is not soon found by trying."""

_NOT_FOUND: Final = Refusal(404, "not_found", "There is no such thing on this page.")
_OURS: Final = Refusal(500, "internal_error", "Internal error: a defect of the page; see the log.")

_BY_PATH: Final[Mapping[str, Mapping[str, Route]]] = {
    path: {each.method: each for each in ROUTES if each.path == path}
    for path in {each.path for each in ROUTES}
}


def checked_token(token: str) -> str:
    """The token; ValueError for one that is none."""
    if not _TOKEN.fullmatch(token):
        raise ValueError("a token has 16 to 512 letters, digits and . _ ~ -")
    return token


class Dashboard:
    """The page of a control plane, or of a store, as an ASGI application.

    Mount it under any prefix of a Starlette or FastAPI application, or serve it alone. Who
    has ``token``, which is made when none is given, gets in; every other request is refused,
    as is one that names the machine otherwise than as a loopback or one of ``hosts``, and one
    that another page sends. It shows; with ``allow_actions`` it does what it is told, too.
    What it is made of is its maker's to stop and to close. ``close`` ends its open streams,
    for which most servers wait when they stop. Used from one event loop.

    TypeError for what is neither a plane nor a store; ValueError for a token that is short,
    or does not fit into a URL.
    """

    def __init__(
        self,
        shown: Shown,
        *,
        token: str | None = None,
        allow_actions: bool = False,
        hosts: Collection[str] = (),
    ) -> None:
        self.token = new_token() if token is None else checked_token(token)
        self._guard = Guard.of(self.token, hosts)
        self._desk = Desk(source=source_of(shown), allow_actions=allow_actions)

    def close(self) -> None:
        """End the open streams, and every one that comes. Any thread may call it. Idempotent."""
        self._desk.streams.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection of the server's."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def patiently(message: Message) -> None:
            async with asyncio.timeout(SEND_S):
                await send(message)

        try:
            answer = with_headers(await self._answer(Request(scope, receive)))
            await answer(scope, receive, patiently)
        except (TimeoutError, ClientDisconnect):
            logger.debug("a reader of the page went away")

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._answer_or_raise(request)
        except Refused as error:
            return refused(error.refusal)
        except MeerkatError as error:
            return refused(refusal_of(error))
        except ClientDisconnect:
            raise
        except Exception as error:
            logger.exception("the page failed", exc_info=without_text(error))
            return refused(_OURS)

    async def _answer_or_raise(self, request: Request) -> Response:
        path = _path_of(request.scope)
        if path == "/" and "token" in request.query_params:
            return self._enter(request)
        refusal = self._guard.refusal(request)
        if refusal is not None:
            return refused(refusal)
        methods = _BY_PATH.get(path)
        if methods is None:
            return refused(_NOT_FOUND)
        route = methods.get(request.method)
        if route is None:
            return refused(_wrong_method(methods))
        return await route.answer(self._desk, request)

    def _enter(self, request: Request) -> Response:
        """Whoever brings the token in the page's address gets a cookie for it, and goes on."""
        refusal = self._guard.foreign(request)
        if refusal is None and not self._guard.is_token(request.query_params["token"]):
            refusal = UNAUTHORIZED
        if refusal is None and request.method != "GET":
            refusal = _wrong_method(["GET"])
        if refusal is not None:
            return refused(refusal)
        root = request.scope.get("root_path", "") + "/"
        answer = RedirectResponse(root, 303)
        answer.set_cookie(
            self._guard.cookie_name,
            self._guard.cookie_value,
            path=root,
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return answer


def _path_of(scope: Scope) -> str:
    """The path below the prefix that the page is mounted under."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _wrong_method(methods: Iterable[str]) -> Refusal:
    allowed = ", ".join(methods)
    return Refusal(405, "method_not_allowed", f"Only {allowed} here.", {"allow": allowed})
