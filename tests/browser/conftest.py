"""One Chromium for all tests of a process; each test has a page, and a plane, of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browser_support import FLAGS, WAIT_S, Agent, Page, ServePlane
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from actors import ControlPlane
from actors.dashboard import Served, serve
from meerkat.limits import Backoff
from meerkat.store import RuntimeStore, SqliteStore

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

NEEDS_BROWSER = "page"
"""The fixture of the tests that have a browser; the others here need none."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM and DRIVER:
        return
    absent = pytest.mark.skip(reason="there is no chromium, or no chromedriver")
    for item in items:
        if NEEDS_BROWSER in getattr(item, "fixturenames", ()):
            item.add_marker(absent)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, Service(DRIVER))
    started.set_script_timeout(WAIT_S)
    yield started
    started.quit()


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    """The page; nothing was complained of in its console, and nothing was asked elsewhere."""
    driver.get_log("browser")
    driver.get_log("performance")
    shown = Page(driver)
    yield shown
    try:
        assert shown.errors() == []
        assert shown.strangers() == []
    finally:
        shown.leave()


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def serve_plane(tmp_path: Path, page: Page) -> Iterator[ServePlane]:
    """Start a plane on a database of its own, with its page; both end with the test."""
    with ExitStack() as stack:

        def start(executor: Any = None, **settings: Any) -> tuple[ControlPlane, Served]:
            allowed = settings.pop("allow_actions", False)
            settings.setdefault("backoff", Backoff(base_s=0.001))
            plane = ControlPlane(SqliteStore(tmp_path / "sessions.db"), executor, **settings)
            stack.enter_context(plane)
            if isinstance(executor, Agent):
                stack.callback(executor.release)
            return plane, stack.enter_context(serve(plane, allow_actions=allowed))

        yield start
        page.rest()


@pytest.fixture
def serve_store(page: Page) -> Iterator[Callable[[RuntimeStore], Served]]:
    """Serve a store of which nobody says that it is at work; until the end of the test."""
    with ExitStack() as stack:

        def start(store: RuntimeStore) -> Served:
            stack.callback(store.close)
            return stack.enter_context(serve(store))

        yield start
        page.rest()
