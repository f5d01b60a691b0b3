"""Who may ask: every route, and all that is none, times everything that is wrong with a request.

The routes are those of the page's own table, so that none can be forgotten here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from attrs import evolve, frozen
from page_builders import (
    HOST,
    ORIGIN,
    TOKEN,
    Answer,
    Asking,
    Header,
    answer_to,
    planted,
    with_cookie,
    with_token,
)

from actors import ControlPlane
from actors.dashboard import Dashboard
from actors.dashboard.answers import HEADERS
from actors.dashboard.routes import ROUTES
from meerkat.store import MemoryStore


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with planted(MemoryStore()) as plane:
        yield plane


@pytest.fixture(scope="module")
def page(plane: ControlPlane) -> Dashboard:
    return Dashboard(plane, token=TOKEN, allow_actions=True)


ACTION = json.dumps({"id": "b", "verb": "pause"}).encode()
JSON: Header = ("content-type", "application/json")

EVERY = [(route.method, route.path) for route in ROUTES]
NONE = [
    ("GET", "/nothing"),
    ("GET", "/api"),
    ("GET", "/api/"),
    ("GET", "/api/overview/"),
    ("GET", "/static/"),
    ("GET", "/static/../app.py"),
    ("GET", "/static/%2e%2e/app.py"),
    ("GET", "//api/overview"),
    ("GET", ""),
    ("POST", "/nothing"),
    *((method, "/api/overview") for method in ("HEAD", "OPTIONS", "POST", "PUT", "nonsense")),
    *((method, "/api/act") for method in ("GET", "HEAD", "OPTIONS", "DELETE")),
    *((method, "/") for method in ("HEAD", "OPTIONS", "POST")),
]
"""What there is nothing at, or not by this method."""

Wrong = Callable[[Dashboard], tuple[Header, ...]]


@frozen
class Case:
    """What is wrong with a request, and how it is refused."""

    status: int
    headers: Wrong
    query: str = ""


def _tokens(*more: Header, host: str = HOST) -> Wrong:
    return lambda _page: with_token(*more, host=host)


def _cookies(*more: Header) -> Wrong:
    return lambda page: with_cookie(page, *more)


def _bare(*headers: Header) -> Wrong:
    return lambda _page: (("host", HOST), *headers)


CASES = {
    "no credentials": Case(401, _bare()),
    "a wrong token": Case(401, _bare(("authorization", "Bearer the-token-of-that-page"))),
    "the beginning of the token": Case(401, _bare(("authorization", f"Bearer {TOKEN[:-1]}"))),
    "no token": Case(401, _bare(("authorization", "Bearer"))),
    "a token that is no text": Case(401, _bare(("authorization", "Bearer \u00fc"))),
    "another scheme": Case(401, _bare(("authorization", f"Basic {TOKEN}"))),
    "a wrong cookie": Case(
        401, lambda page: (("host", HOST), ("cookie", f"{page._guard.cookie_name}=wrong"))
    ),
    "the token as cookie": Case(
        401, lambda page: (("host", HOST), ("cookie", f"{page._guard.cookie_name}={TOKEN}"))
    ),
    "the cookie of another page": Case(
        401,
        lambda _page: with_cookie(Dashboard(MemoryStore(), token="the-token-of-that-page")),
    ),
    "no Host": Case(403, lambda _page: with_token()[1:]),
    "two Hosts": Case(403, _tokens(("host", HOST))),
    "a foreign Host": Case(403, _tokens(host="evil.example")),
    "a foreign Host that begins with ours": Case(403, _tokens(host="localhost.evil.example")),
    "a foreign Host that ends with ours": Case(403, _tokens(host="evil-localhost")),
    "a Host with a user": Case(403, _tokens(host="evil.example@localhost:8000")),
    "a Host that is none": Case(403, _tokens(host="localhost:http")),
    "an empty Host": Case(403, _tokens(host="")),
    "a foreign Origin": Case(403, _tokens(("origin", "http://evil.example"))),
    "the Origin null": Case(403, _tokens(("origin", "null"))),
    "the Origin of another port": Case(403, _tokens(("origin", "http://localhost:8001"))),
    "the Origin without a port": Case(403, _tokens(("origin", "http://localhost"))),
    "the Origin of another scheme": Case(403, _tokens(("origin", "https://localhost:8000"))),
    "the Origin under another name": Case(403, _tokens(("origin", "http://127.0.0.1:8000"))),
    "an empty Origin": Case(403, _tokens(("origin", ""))),
    "two Origins": Case(403, _tokens(("origin", ORIGIN), ("origin", "http://evil.example"))),
    "from another site": Case(403, _tokens(("sec-fetch-site", "cross-site"))),
    "from another port": Case(403, _tokens(("sec-fetch-site", "same-site"))),
    "a cookie, from another page": Case(403, _cookies(("origin", "http://evil.example"))),
    "a cookie, from another site": Case(403, _cookies(("sec-fetch-site", "cross-site"))),
    "a cookie, under a foreign Host": Case(
        403, lambda page: with_cookie(page, host="evil.example:8000")
    ),
    "the token in the address": Case(401, _bare(), f"token={TOKEN}"),
}
BY_COOKIE_TO_WRITE = {
    "a cookie, from nobody knows where": Case(403, _cookies()),
    "a cookie, typed in": Case(403, _cookies(("sec-fetch-site", "none"))),
}


def _asking(page: Dashboard, method: str, path: str, case: Case) -> Asking:
    return Asking(path, method, "&".join(filter(None, ("id=a", case.query))), case.headers(page))


def refusal(page: Dashboard, method: str, path: str, case: Case) -> Answer:
    asking = evolve(_asking(page, method, path, case), body=ACTION)
    return answer_to(page, evolve(asking, headers=(*asking.headers, JSON)))


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        (method, path, name)
        for method, path in (*EVERY, *NONE)
        for name, case in CASES.items()
        if not (case.query and path == "/")  # that is how a person gets in
    ],
)
def test_what_is_wrong_is_refused_everywhere(
    page: Dashboard, method: str, path: str, name: str
) -> None:
    case = CASES[name]
    answer = refusal(page, method, path, case)
    assert answer.status == case.status
    assert answer.code in {"unauthorized", "foreign_host", "foreign_origin"}
    assert len(answer.body) < 200  # and nothing besides
    assert HEADERS.items() <= answer.headers.items()


@pytest.mark.parametrize("name", BY_COOKIE_TO_WRITE)
@pytest.mark.parametrize(("method", "path"), [each for each in (*EVERY, *NONE) if each[0] != "GET"])
def test_a_cookie_alone_changes_nothing(page: Dashboard, method: str, path: str, name: str) -> None:
    answer = refusal(page, method, path, BY_COOKIE_TO_WRITE[name])
    assert (answer.status, answer.code) == (403, "foreign_origin")


RIGHT = {
    "the token": _tokens(),
    "the token, in another case": _bare(("authorization", f"bearer  {TOKEN}")),
    "the token, from the page": _tokens(("origin", ORIGIN), ("sec-fetch-site", "same-origin")),
    "the token, by number": lambda _page: with_token(host="127.0.0.1:8000"),
    "the token, by the other number": lambda _page: with_token(host="[::1]:8000"),
    "the token, on the usual port": _tokens(("origin", "http://localhost"), host="localhost:80"),
    "the cookie, from the page": _cookies(("origin", ORIGIN)),
    "the cookie, from a browser": _cookies(("sec-fetch-site", "same-origin")),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(("method", "path"), EVERY)
def test_what_is_right_is_answered_everywhere(
    page: Dashboard, method: str, path: str, name: str
) -> None:
    answer = refusal(page, method, path, Case(200, RIGHT[name]))
    assert answer.status == 200, answer.body
    assert HEADERS.items() <= answer.headers.items()
    assert not [header for header in answer.headers if header.startswith("access-control")]


@pytest.mark.parametrize(("method", "path"), NONE)
def test_what_is_not_there_is_said_to_those_who_may_ask(
    page: Dashboard, method: str, path: str
) -> None:
    answer = refusal(page, method, path, Case(404, _tokens()))
    known = path in {route.path for route in ROUTES}
    assert answer.status == (405 if known else 404)
    assert answer.code == ("method_not_allowed" if known else "not_found")
    assert HEADERS.items() <= answer.headers.items()


def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    assert "default-src 'none'" in HEADERS["content-security-policy"]
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert "frame-ancestors 'none'" in HEADERS["content-security-policy"]
    assert HEADERS["x-content-type-options"] == "nosniff"
    assert HEADERS["referrer-policy"] == "no-referrer"
    assert HEADERS["cache-control"] == "no-store"


# --- getting in -------------------------------------------------------------------------


def entry(token: str = TOKEN, *more: Header, host: str = HOST, **changes: str) -> Asking:
    return Asking("/", query=f"token={token}", headers=(("host", host), *more), **changes)


def test_who_opens_the_link_gets_a_cookie_and_goes_on_without_the_token(page: Dashboard) -> None:
    answer = answer_to(page, entry())
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "path=/", "samesite=strict"}
    assert HEADERS.items() <= answer.headers.items()
    named = (("host", HOST), ("cookie", cookie.partition(";")[0]))
    assert answer_to(page, Asking("/api/overview", headers=named)).status == 200


def test_the_cookie_is_for_tls_alone_where_there_is_tls(page: Dashboard) -> None:
    answer = answer_to(page, entry(scheme="https"))
    assert "secure" in {each.strip().lower() for each in answer.headers["set-cookie"].split(";")}


@pytest.mark.parametrize(
    ("asking", "status"),
    [
        (entry("the-token-of-that-page"), 401),
        (entry(""), 401),
        (entry("%ff%00"), 401),
        (entry(method="POST"), 405),
        (entry("wrong", method="POST"), 401),
        (entry(host="evil.example"), 403),
        (entry(TOKEN, ("origin", "http://evil.example")), 403),
        (entry(TOKEN, ("sec-fetch-site", "cross-site")), 403),
    ],
    ids=str,
)
def test_the_link_opens_nothing_otherwise(page: Dashboard, asking: Asking, status: int) -> None:
    answer = answer_to(page, asking)
    assert answer.status == status
    assert "set-cookie" not in answer.headers
    assert HEADERS.items() <= answer.headers.items()


def test_a_page_goes_by_further_names_that_were_given(plane: ControlPlane) -> None:
    page = Dashboard(plane, token=TOKEN, hosts=("Ops.Example",))
    for host, status in (("ops.example", 200), ("OPS.example:443", 200), ("evil.example", 403)):
        headers = with_token(host=host)
        assert answer_to(page, Asking("/api/overview", headers=headers)).status == status


BAD_TOKENS = [
    "",
    "short",
    "t" * 15,
    "t" * 513,
    "with blanks in it",
    "t\u00fc" * 10,
    "t" * 16 + "\n",
]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_token_that_is_soon_found_or_fits_nowhere_is_refused(
    token: str, plane: ControlPlane
) -> None:
    with pytest.raises(ValueError, match="a token has"):
        Dashboard(plane, token=token)


def test_each_page_has_a_token_of_its_own(plane: ControlPlane) -> None:
    one, other = Dashboard(plane), Dashboard(plane)
    assert one.token != other.token
    assert len(one.token) >= 40
    assert one._guard.cookie_name != other._guard.cookie_name
    assert one.token not in repr(one._guard)


def test_a_web_socket_is_closed(page: Dashboard) -> None:
    sent = []

    async def main() -> None:
        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await page({"type": "websocket", "path": "/", "headers": []}, receive, send)  # type: ignore[arg-type]

    asyncio.run(main())
    assert sent == [{"type": "websocket.close", "code": 1008}]
