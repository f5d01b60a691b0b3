"""Guard: who may ask, looked at before anything else of a request.

The page listens on a port of a machine on which other people's web pages run, too: in the
browser beside it, which sends whatever they have it send. So the name that it was asked under
has to be ours, the page it comes from has to be ours, and it has to bring the token. Whoever
lacks one of these learns nothing, not even which routes there are.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen
from starlette.requests import Request

from actors.dashboard.answers import Refusal

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""The names that this machine alone answers to."""

_PORTS: Final = {"http": 80, "https": 443}
_OURS: Final = frozenset({"same-origin", "none"})
"""What ``Sec-Fetch-Site`` says of a request of the page's own, or of one typed in."""

_SENT_ONCE: Final = ("host", "origin", "authorization", "sec-fetch-site")
_READING: Final = "GET"

FOREIGN_HOST: Final = Refusal(403, "foreign_host", "This is not a name that the page goes by.")
FOREIGN_ORIGIN: Final = Refusal(403, "foreign_origin", "Another page has sent this.")
UNAUTHORIZED: Final = Refusal(
    401,
    "unauthorized",
    "Open the page by the link that its process has printed, or send its token.",
    {"www-authenticate": 'Bearer realm="meerkat"'},
)


@frozen
class Guard:
    """Lets in who has ``token`` and asks for one of the names. Thread-safe."""

    token: str = field(repr=False)
    names: frozenset[str]

    @classmethod
    def of(cls, token: str, hosts: Collection[str]) -> Guard:
        """With the names of this machine, and ``hosts`` besides."""
        return cls(token, LOOPBACK | {host.lower() for host in hosts})

    def refusal(self, request: Request) -> Refusal | None:
        """Why the request is refused; None when it is let in."""
        return self.foreign(request) or self._unauthorized(request)

    def foreign(self, request: Request) -> Refusal | None:
        """Why it is refused whatever it brings."""
        return next(filter(None, (check(self, request) for check in _FOREIGN)), None)

    def _unauthorized(self, request: Request) -> Refusal | None:
        if self.has_token(request):
            return None
        if not self.has_cookie(request):
            return UNAUTHORIZED
        return None if request.method == _READING or _is_own(request) else FOREIGN_ORIGIN

    @property
    def cookie_name(self) -> str:
        """One for each token: cookies of one name know no ports, and would meet."""
        return f"meerkat-page-{hashlib.sha256(self.token.encode()).hexdigest()[:8]}"

    @property
    def cookie_value(self) -> str:
        """What the browser keeps: it opens the page, and is not the token.

        Browsers know no ports there: other servers of this machine may get to see it.
        """
        return hmac.new(self.token.encode(), b"cookie", hashlib.sha256).hexdigest()

    def is_token(self, given: str) -> bool:
        """Is it the token? It takes as long to say no as to say yes."""
        return _same(given, self.token)

    def has_cookie(self, request: Request) -> bool:
        """Was it sent by a browser that was let in before?"""
        return _same(request.cookies.get(self.cookie_name, ""), self.cookie_value)

    def has_token(self, request: Request) -> bool:
        """Does it bring the token in its header?"""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(given.strip())


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


# --- whose request it is ----------------------------------------------------------------


def _host(guard: Guard, request: Request) -> Refusal | None:
    if any(len(request.headers.getlist(name)) > 1 for name in _SENT_ONCE):
        return FOREIGN_HOST
    asked = _split("//" + request.headers.get("host", ""))
    return None if asked is not None and asked.hostname in guard.names else FOREIGN_HOST


def _origin(_guard: Guard, request: Request) -> Refusal | None:
    origin = request.headers.get("origin")
    if origin is None:
        return None
    theirs = _split(origin)
    ours = _split(f"{request.scope['scheme']}://{request.headers['host']}")
    same = theirs is not None and ours is not None and _place(theirs) == _place(ours)
    return None if same else FOREIGN_ORIGIN


def _site(_guard: Guard, request: Request) -> Refusal | None:
    site = request.headers.get("sec-fetch-site")
    return None if site is None or site in _OURS else FOREIGN_ORIGIN


_FOREIGN: Final[tuple[Callable[[Guard, Request], Refusal | None], ...]] = (_host, _origin, _site)


def _is_own(request: Request) -> bool:
    """Does the browser say that the page itself sent it? What it says was looked at before."""
    site = request.headers.get("sec-fetch-site")
    return "origin" in request.headers or site == "same-origin"


def _split(url: str) -> SplitResult | None:
    """The parts of a URL without a path; None for anything else."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - which is looked at when it is asked for
    except ValueError:
        return None
    plain = parts.path + parts.query + parts.fragment == "" and "@" not in parts.netloc
    return parts if plain else None


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
