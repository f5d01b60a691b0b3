"""The links of the pages lead to pages of the site, wherever they lie in the project."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from page_blocks import TOP


@pytest.fixture
def on_site(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    monkeypatch.syspath_prepend(TOP / "docs")
    found: Callable[[str, str], str] = import_module("site_links").on_site
    return found


PAGE = "docs/how-to/runs.md"


@pytest.mark.parametrize(
    ("link", "on_the_site"),
    [
        ("[a](event-loops.md)", "[a](/how-to/event-loops.md)"),
        ("[a](../reference/tables.md#errors)", "[a](/reference/tables.md#errors)"),
        ("![a](../images/peers.png)", "![a](/images/peers.png)"),
        ("[a](../../README.md#limits)", "[a](/reference/in-short.md#limits)"),
        ("[a](../../examples/lost_bag.py)", "[a](/reference/examples.md#lost_bagpy)"),
        ("[`a`](event-loops.md)", "[`a`](/how-to/event-loops.md)"),
        ("[a](#below)", "[a](#below)"),
        ("[a](https://docs.python.org)", "[a](https://docs.python.org)"),
        ("`verbs[name](event)`", "`verbs[name](event)`"),
        ("```python\nverbs[name](event)\n```", "```python\nverbs[name](event)\n```"),
    ],
)
def test_a_link_leads_to_where_the_site_has_it(
    on_site: Callable[[str, str], str], link: str, on_the_site: str
) -> None:
    assert on_site(f"before {link}" if "```" not in link else link, PAGE).endswith(on_the_site)


def test_a_link_of_a_file_that_is_included(on_site: Callable[[str, str], str]) -> None:
    assert on_site("[a](docs/how-to/runs.md)", "README.md") == "[a](/how-to/runs.md)"
    assert on_site("[a](../docs/images/peers.png)", "benchmarks/README.md").endswith(
        "(/images/peers.png)"
    )


SOURCES = sorted(
    path for part in ("*.md", "benchmarks/*.md", "docs/**/*.md") for path in TOP.glob(part)
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(TOP)))
def test_every_link_of_the_pages_leads_somewhere(
    on_site: Callable[[str, str], str], source: Path
) -> None:
    on_site(source.read_text(encoding="utf-8"), str(source.relative_to(TOP)))


def test_a_link_to_what_no_page_shows_ends_the_build(on_site: Callable[[str, str], str]) -> None:
    with pytest.raises(ValueError, match=r"no page shows setup\.cfg"):
        on_site("[a](../../setup.cfg)", PAGE)
