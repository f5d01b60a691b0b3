"""How things stand between the page and what is behind it: said at once, and clearly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from browser_support import WAIT_S, Agent, Page, ServePlane

from actors import ControlPlane
from actors.dashboard import Served, serve
from meerkat import PromptInput
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

ServeStore = Callable[[RuntimeStore], Served]


def test_a_store_that_nobody_works_on_is_shown_as_not_live(
    page: Page, serve_store: ServeStore
) -> None:
    page.open(serve_store(MemoryStore()))
    assert "Not live: a stopped database." in page.text("#banner")
    assert page.text("#lamp-text") == "not live"
    assert not page.see("main").text.startswith("Overview Runs in hand")
    page.go("#/runtimes")
    page.reads("main", "No runtimes here.")
    page.expected.append("404")
    page.go("#/supervision")
    page.reads("main", "No plane runs behind this page")


def test_what_a_stopped_database_holds_is_shown(
    page: Page, serve_store: ServeStore, tmp_path: Path
) -> None:
    database = tmp_path / "sessions.db"
    with ControlPlane(SqliteStore(database), Agent()) as plane:
        plane.register("support-1")
        plane.completion("support-1", plane.ingest("support-1", PromptInput("hi"))).result(WAIT_S)
    page.open(serve_store(SqliteStore(database)), "#/runtime/support-1")
    page.until(lambda: page.texts("#ledger .badge") == ["consumed"])
    assert page.script("return document.querySelector('#events').hidden")
    assert page.all("[data-verb]") == []


def test_an_owner_elsewhere_is_named_as_text(page: Page, serve_store: ServeStore) -> None:
    page.open(serve_store(MemoryStore()))
    page.module(
        """{
          const { link } = await m("link");
          link.heard({ ...link.facts, owner: given[0] });
        }""",
        "<img src=x onerror='window.hacked=1'> 4711",
    )
    assert "owned by <img src=x onerror='window.hacked=1'> 4711" in page.text("#banner")
    assert page.script("return window.hacked") is None


def test_a_stop_of_the_plane_is_said(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    page.open(served)
    page.expected.append("503")
    streams(page)
    plane.stop()
    page.reads("#banner", "This has ended.")
    assert page.text("#lamp-text") == "ended"
    assert page.see("#banner button").text == "Try now"


def streams(page: Page) -> None:
    """Wait until figures arrive that nobody has asked for."""
    page.until(lambda: page.module("(await m('live')).live.samples.length") >= 3)


def test_a_plane_that_has_stopped_before_is_said_to_have(
    page: Page, serve_plane: ServePlane
) -> None:
    plane, served = serve_plane()
    plane.stop()
    page.expected.append("503")
    page.open(served)
    page.reads("#banner", "This has ended.")


def test_a_lost_connection_is_said_and_taken_up_again(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.open(served)
    page.expected.append("ERR_")
    page.reads(".tiles", "of 64")
    page.offline(lost=True)
    page.reads("#banner", "The connection is lost.")
    assert page.text("#lamp-text") == "no connection"
    page.offline(lost=False)
    page.click("#banner button", "Try now")
    page.until(lambda: page.text("#banner") == "")
    page.reads("#lamp-text", "live")


def test_a_page_that_was_ended_comes_back_with_its_server(page: Page) -> None:
    page.expected.append("ERR_")
    with ControlPlane(MemoryStore()) as plane:
        with serve(plane) as first:
            page.open(first)
            streams(page)
        page.reads("#banner", "This has ended.")
        with serve(plane, port=int(urlsplit(first.url).port or 0), token=first.token):
            page.click("#banner button", "Try now")
            page.until(lambda: page.text("#banner") == "")
            page.reads("#lamp-text", "live")
            page.rest()


def test_who_comes_with_no_token_any_more_is_told_so(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.open(served)
    page.expected.append("401")
    page.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    page.reads("#banner", "This page is not open to you.")
