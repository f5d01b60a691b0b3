"""Owner: the channel to the process that has a database, which is the page it serves.

It speaks HTTP with the token of the file beside the database, and its errors are in words: whose
turn it is, and what to do. What a stream's lines say is in ``sent_events``.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from attrs import frozen

from actors.access import Access, AccessDistrusted, access_path, access_to
from actors.cli.sent_events import SentEvent, sent_events
from actors.cli.status import ExitStatus, NotFoundError, OwnerError
from actors.version import version
from meerkat.errors import DecodeError
from meerkat.json_values import parse

ANSWER_S: Final = 10.0
"""How long an answer may take that only reads: a page gives it in a fraction of a second."""

ACT_S: Final = 60.0
"""How long an action may take: stopping a runtime waits for the executor's stop hook."""

QUIET_S: Final = 45.0
"""How long a stream may say nothing: a page sends a line every 15 s, and may be late twice."""

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest answer that is read: a page of inputs with what they say."""

LINE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Longest line of a stream that is read: an event that carries what a host published."""


_BROKEN: Final = (OSError, http.client.HTTPException)
"""How a connection that does not go on shows itself."""


class OwnerGone(OwnerError):
    """Nobody answers at the address of the access file."""


class OwnerUnsure(OwnerError):
    """The connection ended before the answer: nobody here knows whether it was done."""


def page_of(database: Path) -> OwnerPage | None:
    """The page of the database's owner; None when it serves none.

    OwnerGone when its process has ended and left the file that tells of it; OwnerError when
    that file is not to be believed.
    """
    try:
        access = access_to(database)
    except AccessDistrusted as error:
        raise OwnerError(str(error)) from error
    path = access_path(database)
    if access is None and path.exists():
        raise OwnerGone(f"{path} is left over from a process that has ended")
    return None if access is None else OwnerPage(access)


@frozen(kw_only=True)
class _Asked:
    """One request, and what it is when its answer does not come."""

    method: str = "GET"
    target: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    lost: type[OwnerError] = OwnerGone


class OwnerPage:
    """The page of a database's owner. Each call is one connection; used by one thread.

    Every call raises OwnerGone when nobody is there, OwnerError when the page cannot answer
    or says no, and NotFoundError when what was asked about is not there.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        parts = urlsplit(access.url)
        self._host, self._port, self._prefix = (
            parts.hostname or "",
            parts.port,
            parts.path.rstrip("/"),
        )

    def read(self, path: str, **query: object) -> dict[str, Any]:
        """What the page says at ``path``."""
        with closing(self._connection(ANSWER_S)) as connection:
            asked = _Asked(target=self._target(path, query))
            return self._document(self._answer(connection, asked), asked.lost)

    def overview(self) -> dict[str, Any]:
        """What the page says of itself; OwnerError for one of another version."""
        found = self.read("/api/overview")
        if found.get("version") != version():
            whose = f"{self.access.owner} is of version {found.get('version')}"
            raise OwnerError(f"{whose}, and this is {version()}")
        return found

    def act(
        self, runtime_id: str, verb: str, picked: Mapping[str, Sequence[str] | None] | None = None
    ) -> dict[str, Any]:
        """Have the owner do it, to what is ``picked`` if anything is; what was done.

        OwnerUnsure when the answer did not come.
        """
        order: dict[str, Any] = {"id": runtime_id, "verb": verb}
        order |= {name: each for name, each in (picked or {}).items() if each is not None}
        asked = _Asked(
            method="POST",
            target=self._target("/api/act", {}),
            headers={"Content-Type": "application/json"},
            body=json.dumps(order).encode(),
            lost=OwnerUnsure,
        )
        with closing(self._connection(ACT_S)) as connection:
            return self._document(self._answer(connection, asked), asked.lost)

    def events(self, path: str, last_id: str | None = None, **query: object) -> Iterator[SentEvent]:
        """What the page streams at ``path``, until the stream ends; OwnerGone when it is cut."""
        headers = {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        asked = _Asked(target=self._target(path, query), headers=headers)
        with closing(self._connection(QUIET_S)) as connection:
            answer = self._answer(connection, asked)
            if answer.status != http.client.OK:
                self._document(answer, asked.lost)
            yield from sent_events(self._lines(answer))

    # --- sending and reading ------------------------------------------------------------

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _target(self, path: str, query: Mapping[str, object]) -> str:
        given = urlencode({name: each for name, each in query.items() if each is not None})
        return self._prefix + path + (f"?{given}" if given else "")

    def _answer(
        self, connection: http.client.HTTPConnection, asked: _Asked
    ) -> http.client.HTTPResponse:
        try:
            connection.connect()
        except OSError as error:
            raise OwnerGone(f"nobody answers at {self.access.url} ({_why(error)})") from error
        headers = {"Authorization": f"Bearer {self.access.token}", **asked.headers}
        try:
            connection.request(asked.method, asked.target, body=asked.body, headers=headers)
            return connection.getresponse()
        except _BROKEN as error:
            raise self._lost(asked.lost, error) from error

    def _document(self, answer: http.client.HTTPResponse, lost: type[OwnerError]) -> dict[str, Any]:
        try:
            raw = answer.read(ANSWER_BYTES_MAX + 1)
            if len(raw) <= ANSWER_BYTES_MAX and answer.length:
                raise http.client.IncompleteRead(raw, answer.length)
        except _BROKEN as error:
            raise self._lost(lost, error) from error
        document = _object_in(raw)
        if answer.status == http.client.OK and document is not None:
            return document
        raise refusal(answer.status, document, self.access)

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[str]:
        while True:
            try:
                line = answer.readline(LINE_BYTES_MAX)
            except _BROKEN as error:
                raise self._lost(OwnerGone, error) from error
            if not line.endswith(b"\n"):
                raise OwnerGone(f"{self.access.owner} ended the connection")
            yield line.decode(errors="replace").rstrip("\r\n")

    def _lost(self, kind: type[OwnerError], error: Exception) -> OwnerError:
        return kind(_LOST[kind].format(who=self.access.owner, why=_why(error)))


_LOST: Final[Mapping[type[OwnerError], str]] = {
    OwnerGone: "{who} does not answer ({why})",
    OwnerUnsure: (
        "{who} was asked and did not answer ({why}): whether it is done is not known; "
        "look before it is asked again"
    ),
}


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, http.client.IncompleteRead):
        return "its answer is cut off"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _object_in(raw: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer is; None for anything else."""
    if len(raw) > ANSWER_BYTES_MAX:
        return None
    try:
        document = parse(raw)
    except DecodeError:
        return None
    return document if isinstance(document, dict) else None


# --- what a refusal means ---------------------------------------------------------------


@frozen
class _Refusal:
    """What to say of a status, with ``who`` it is and the page's own ``text``; and how it ends."""

    says: str
    status: ExitStatus = ExitStatus.STORE
    kind: Callable[[str, ExitStatus], Exception] = OwnerError


_REFUSALS: Final[Mapping[int, _Refusal]] = {
    400: _Refusal("{text}", ExitStatus.TROUBLE),
    401: _Refusal("{who} does not know the token of its file: delete {file}, or start it again"),
    403: _Refusal("{who} refuses it: {text}"),
    404: _Refusal("{text}", ExitStatus.TROUBLE, lambda text, _: NotFoundError(text)),
    409: _Refusal("{text}", ExitStatus.TROUBLE),
    429: _Refusal("{who} has too much in hand: {text}; try again later", ExitStatus.TROUBLE),
    503: _Refusal("{who} cannot do it now: {text}"),
}
"""Statuses of the page's answers. Any other one is a fault of the page's."""


def refusal(status: int, document: Mapping[str, Any] | None, access: Access) -> Exception:
    """The error for an answer that is not the one hoped for."""
    error = (document or {}).get("error")
    text = str(error.get("text") or "it does not say why") if isinstance(error, dict) else None
    found = _REFUSALS.get(status)
    if text is None:
        at = f"{status} at {access.url}"
        return OwnerError(f"{access.owner} answers {at}: that is no page of meerkat")
    if found is None:
        return OwnerError(f"{access.owner} answers {status}: {text}")
    says = found.says.format(who=access.owner, text=text, file="the file beside the database")
    return found.kind(says, found.status)
