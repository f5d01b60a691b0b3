"""Serving: the page on a thread and a port of its own, beside whatever the process does.

The server is uvicorn. What it leaves open is bounded here: how many connections there are, how
long the start of a request may take, and how long it waits for anybody at its end.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from typing import Any, Final

import uvicorn
from attrs import field, frozen
from uvicorn.protocols.http.h11_impl import H11Protocol

from actors.access import Access, offered
from actors.dashboard.app import Dashboard, checked_token
from actors.dashboard.guard import LOOPBACK
from actors.dashboard.sources import Shown, database_behind
from actors.dashboard.streams import STREAMS_MAX
from actors.ground import start_thread
from actors.light import LightFuture

HEAD_S: Final = 10.0
"""How long the start of a request may take to arrive, on a connection that is new or idle."""

HEAD_BYTES_MAX: Final = 32 * 1024
"""The longest start of a request: a browser's with all its headers has a few thousand."""

CONNECTIONS_MAX: Final = STREAMS_MAX + 128
"""Open at once; one more is told to come again."""

END_S: Final = 5
"""How long the end waits for answers that are under way."""

_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what a host may say, and is asked about


@frozen(kw_only=True)
class Served:
    """Where a page is, and what opens it."""

    url: str
    """Its root, with a slash at the end."""
    token: str = field(repr=False)

    @property
    def url_with_token(self) -> str:
        """What to open in a browser; for whoever started it, and nobody's log."""
        return f"{self.url}?token={self.token}"


def check(*, host: str, token: str | None, hosts: Collection[str]) -> None:
    """ValueError for what :func:`serve` would refuse with one, before anything is begun."""
    if not _is_loopback(host) and not hosts:
        raise ValueError(f"{host!r} is beyond this machine: say in hosts= by which names")
    if token is not None:
        checked_token(token)


@contextmanager
def serve(
    shown: Shown,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    allow_actions: bool = False,
    hosts: Collection[str] = (),
) -> Iterator[Served]:
    """While this lasts, the page of a control plane, or of a store, is there at ``.url``.

    ``port`` 0 takes one that is free. On a ``host`` beyond this machine it is offered only
    when ``hosts`` says by which names it is asked for there. Of a plane over a database file,
    ``<database>-page`` beside it says where the page is, to this user alone: the command line
    finds it there. What is shown is its maker's to stop; do that after this.

    ValueError for a host without a name, or a token that is none; OSError for a port that is
    taken; ControlPlaneStopped for a plane that does not run.
    """
    check(host=host, token=token, hosts=hosts)
    page = Dashboard(shown, token=token, allow_actions=allow_actions, hosts=(host, *hosts))
    database = database_behind(shown)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(host, port))
        served = Served(url=_url(host, listening), token=page.token)
        stack.enter_context(_running(page, listening, behind_proxy=bool(hosts)))
        if database is not None:
            access = Access(
                url=served.url, token=page.token, pid=os.getpid(), allow_actions=allow_actions
            )
            stack.enter_context(offered(database, access))
        yield served


def _is_loopback(host: str) -> bool:
    try:
        return host in LOOPBACK or ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=CONNECTIONS_MAX)
    # A head and its body are two writes: without this, the second waits 40 ms for its reader.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _url(host: str, listening: socket.socket) -> str:
    name = "127.0.0.1" if host in _ANY else host
    port = listening.getsockname()[1]
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


@contextmanager
def _running(page: Dashboard, listening: socket.socket, *, behind_proxy: bool) -> Iterator[None]:
    """A server on a thread of its own; at the end it is waited for."""
    server = uvicorn.Server(
        uvicorn.Config(
            page,
            http=_Hurried,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=behind_proxy,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=int(HEAD_S),
            timeout_graceful_shutdown=END_S,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
    )
    ended: LightFuture[None] = LightFuture()

    def work() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            ended.set_result(None)

    start_thread(work, "meerkat-page")
    served_by = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == served_by:  # a forked child has no such thread
            server.should_exit = True
            page.close()
            ended.result()


class _Hurried(H11Protocol):
    """A connection whose requests have to begin soon, and to be whole in their heads then.

    uvicorn itself waits for the rest of a head as long as its sender likes.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def _look(self) -> None:
        """Begin to count when a head is awaited, and end it when it has come."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEAD_S, self._give_up)

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self.transport.abort()
