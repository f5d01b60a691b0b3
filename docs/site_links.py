"""Links as the site needs them: the pages are written for who reads them as files, too.

A link to a file that is no page of the site leads to the page that shows it. The source files
stay as they are: this happens while they are read for the site.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

SHOWN_BY: Final[Mapping[str, str]] = {
    "README.md": "/reference/in-short.md",
    "CHANGELOG.md": "/reference/changes.md",
    "CONTRIBUTING.md": "/contributing.md",
    ".ci/run": "/contributing.md",
    "SECURITY.md": "/security.md",
    "changelog.d/README.md": "/reference/changes.md",
    "benchmarks/README.md": "/explanation/benchmarks.md",
}
"""A file of the project → the page that includes it."""

_CODE: Final = r"^```.*?^```|`[^`\n]*`"
_LINK: Final = re.compile(
    rf"{_CODE}|\]\((?!\w+:|#)(?P<target>[^)#\s]+)(?P<part>#[^)\s]*)?\)", re.DOTALL | re.MULTILINE
)


def on_site(text: str, lies_at: str) -> str:
    """The text of a file that lies at this place of the project, with links for the site.

    What looks like a link in code stays. Raises ValueError for a link to a file that no page
    shows.
    """
    folder = os.path.dirname(lies_at)  # noqa: PTH120 - a place in the project, no file here

    def there(found: re.Match[str]) -> str:
        if found["target"] is None:
            return found[0]
        return f"]({_place(folder, found['target'])}{found['part'] or ''})"

    return _LINK.sub(there, text)


def _place(folder: str, target: str) -> str:
    if target.startswith("/"):
        return target
    meant = os.path.normpath(f"{folder}/{target}" if folder else target)
    if meant.startswith("docs/"):
        return meant.removeprefix("docs")
    if meant in SHOWN_BY:
        return SHOWN_BY[meant]
    if meant.startswith("examples/"):
        return f"/reference/examples.md#{anchor(meant)}"
    raise ValueError(f"no page shows {meant}: name one in docs/site_links.py")


def anchor(path: str) -> str:
    """What the heading that names a file is found by."""
    return os.path.basename(path).replace(".", "").lower()  # noqa: PTH119 - as above
