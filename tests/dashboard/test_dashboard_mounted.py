"""A page below a prefix of a host's own application, asked as browsers ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from page_builders import TOKEN, Asking, answer_to, planted, with_token
from starlette.applications import Starlette
from starlette.routing import Mount

from actors import ControlPlane
from actors.dashboard import Dashboard
from actors.dashboard.routes import ROUTES
from meerkat.store import MemoryStore

READ = [route.path for route in ROUTES if route.method == "GET"]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with planted(MemoryStore()) as plane:
        yield plane


@pytest.fixture(scope="module")
def host(plane: ControlPlane) -> Starlette:
    return Starlette(routes=[Mount("/ops/page", Dashboard(plane, token=TOKEN))])


@pytest.mark.parametrize("path", READ)
def test_every_route_is_there_below_the_prefix(host: Starlette, path: str) -> None:
    asking = Asking(f"/ops/page{path}", query="id=a", headers=with_token())
    assert answer_to(host, asking).status == 200
    refused = Asking(f"/ops/page{path}", headers=with_token()[:1])
    assert answer_to(host, refused).status == 401


@pytest.mark.parametrize("path", ["/ops/page/nothing", "/ops/page/ops/page/api/overview"])
def test_nothing_else_is(host: Starlette, path: str) -> None:
    assert answer_to(host, Asking(path, headers=with_token())).status == 404
    assert answer_to(host, Asking(path, headers=with_token()[:1])).status == 401


def test_behind_a_server_with_a_prefix_of_its_own(plane: ControlPlane, host: Starlette) -> None:
    page = Dashboard(plane, token=TOKEN)
    for app, path in ((page, "/api/overview"), (host, "/ops/page/api/overview")):
        asking = Asking(path, headers=with_token(), root_path="/outer")
        assert answer_to(app, asking).status == 200


async def _entered(host: Starlette) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
    transport = httpx.ASGITransport(host)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:80") as client:
        lacking = await client.get("/ops/page/api/overview")
        entry = await client.get("/ops/page/", params={"token": TOKEN})
        return lacking, entry, await client.get("/ops/page/api/overview")


def test_the_cookie_is_for_the_prefix_alone(host: Starlette) -> None:
    lacking, entry, after = asyncio.run(_entered(host))
    assert (lacking.status_code, entry.status_code, after.status_code) == (401, 303, 200)
    assert entry.headers["location"] == "/ops/page/"
    assert "Path=/ops/page/" in entry.headers["set-cookie"]
