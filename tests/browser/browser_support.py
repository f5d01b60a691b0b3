"""A page in a real Chromium: what the tests do with it, and what stands behind it.

Whatever is waited for is a condition, looked at again and again until it holds.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from actors import ControlPlane
from actors.dashboard import Served
from meerkat import RunContext, RunOutput, StagedInput

ServePlane = Callable[..., tuple[ControlPlane, Served]]
"""Serves a plane as a test asks for it."""

T = TypeVar("T")

WAIT_S = float(os.environ.get("MEERKAT_WAIT_S", "30"))
LOOK_S = 0.05


class Agent:
    """An executor that answers, fails with the text behind "fail:", and waits while it is held."""

    def __init__(self, *, held: bool = False) -> None:
        self.called: SimpleQueue[str] = SimpleQueue()
        self._go_on = threading.Event()
        if not held:
            self._go_on.set()

    def __call__(self, _context: RunContext, primitive: StagedInput) -> RunOutput:
        self.called.put(primitive.text)
        self._go_on.wait(WAIT_S)
        if primitive.text.startswith("fail:"):
            raise ValueError(primitive.text.removeprefix("fail:"))
        said = {"role": "user", "content": primitive.text}
        answer = {"role": "assistant", "content": f"re: {primitive.text}"}
        return RunOutput(append=[said, answer])

    def release(self) -> None:
        self._go_on.set()


class Page:
    """The page as it stands in a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.roots: list[str] = []
        """Where a request may go."""
        self.expected: list[str] = []
        """What may stand in the console: texts that its errors hold."""

    # --- going --------------------------------------------------------------------------

    def open(self, served: Served, view: str = "") -> None:
        """Open the page with its token, and see it come to life."""
        self.roots.append(served.url)
        self.driver.get(served.url_with_token)
        self.see("main h1")
        self.until(lambda: self.text("#lamp-text") != "connecting")
        if view:
            self.go(view)

    def go(self, view: str) -> None:
        self.driver.execute_script("location.hash = arguments[0]", view)

    @property
    def hash(self) -> str:
        found: str = self.script("return location.hash")
        return found

    # --- looking ------------------------------------------------------------------------

    def script(self, text: str, *given: Any) -> Any:
        return self.driver.execute_script(text, *given)

    def module(self, expression: str, *given: Any) -> Any:
        """What an expression of the page's modules gives; ``m`` imports one by its name."""
        return self.driver.execute_async_script(
            f"""
            const done = arguments[arguments.length - 1];
            const given = arguments[0];
            const m = (name) => import(new URL(`static/${{name}}.js`, document.baseURI).href);
            (async () => {expression})().then(done, (error) => done(`failed: ${{error}}`));
            """,
            list(given),
        )

    def until(self, holds: Callable[[], T], message: str = "") -> T:
        """Wait until it gives something that is true."""
        wait = WebDriverWait(
            self.driver, WAIT_S, LOOK_S, ignored_exceptions=(WebDriverException, IndexError)
        )
        try:
            return wait.until(lambda _driver: holds())
        except TimeoutException:
            told = message or "it never came to be"
            raise AssertionError(f"{told}; the page: {self.text('body')[:2000]}") from None

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def see(self, css: str) -> WebElement:
        """The first that can be seen of what a selector names, once there is one."""
        return self.until(
            lambda: next((each for each in self.all(css) if each.is_displayed()), None),
            f"nothing to be seen of {css}",
        )

    def text(self, css: str) -> str:
        found: str = self.script(
            "return document.querySelector(arguments[0])?.innerText ?? ''", css
        )
        return " ".join(found.split())

    def texts(self, css: str) -> list[str]:
        found: list[str] = self.script(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)",
            css,
        )
        return [" ".join(each.split()) for each in found]

    def reads(self, css: str, text: str) -> None:
        """Wait until a text stands there."""
        self.until(lambda: text in self.text(css), f"{css} does not say {text!r}")

    def rows(self) -> list[str]:
        """The first cells of the table's rows."""
        return self.texts("main tbody tr > th")

    # --- doing --------------------------------------------------------------------------

    def click(self, css: str, text: str | None = None) -> None:
        """Click on what can be seen, and bears this text."""

        def clicked() -> bool:
            for each in self.all(css):
                if each.is_displayed() and text in (None, each.text):
                    self.script("arguments[0].scrollIntoView({block: 'center'})", each)
                    each.click()
                    return True
            return False

        self.until(clicked, f"nothing to click: {css} {text or ''}")

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focused(self) -> str:
        """The name of what has the focus: its label, or its text."""
        found: str = self.script(
            "const it = document.activeElement;"
            "if (it === document.body) return '';"
            "return it.getAttribute('aria-label') ?? it.innerText;"
        )
        return " ".join(found.split())

    def tab_to(self, name: str, *, most: int = 80) -> None:
        """Go on with the Tab key until the focus is on what has this name."""
        for _ in range(most):
            self.press(Keys.TAB)
            if self.focused() == name:
                return
        raise AssertionError(f"the Tab key does not come to {name!r}")

    def emulate(self, **features: str) -> None:
        """Have the browser prefer a colour scheme, less motion and so on."""
        given = [{"name": name.replace("_", "-"), "value": v} for name, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": given})

    def resize(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def offline(self, *, lost: bool) -> None:
        """Take the network away, or give it back."""
        self.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": lost, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )

    # --- afterwards ---------------------------------------------------------------------

    def errors(self) -> list[str]:
        """What the console complains of, but for what a test expects."""
        found = [each["message"] for each in self.driver.get_log("browser")]
        return [each for each in found if not any(text in each for text in self.expected)]

    def strangers(self) -> list[str]:
        """Requests that went elsewhere than to the page's own host."""
        hosts = {urlsplit(root).netloc for root in self.roots}
        urls = [told["request"]["url"] for told in self._told("Network.requestWillBeSent")]
        web = [url for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
        return [url for url in web if urlsplit(url).netloc not in hosts]

    def _told(self, method: str) -> Iterator[Mapping[str, Any]]:
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == method:
                yield message["params"]

    def rest(self) -> None:
        """Show nothing: what is behind the page goes away, and it must not ask for it."""
        self.driver.get("about:blank")

    def leave(self) -> None:
        """Leave nothing behind for the next test."""
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})
        self.offline(lost=False)
        self.emulate()
        for root in self.roots:
            self.driver.execute_cdp_cmd(
                "Storage.clearDataForOrigin", {"origin": root, "storageTypes": "all"}
            )
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})


FLAGS: Sequence[str] = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en-GB",
    "--window-size=1280,1000",
)
"""No screen, root, and no network but this machine's."""
