"""What a release will say can be put together at any time, and no change is left out of it."""

from __future__ import annotations

import subprocess
import sys

from page_blocks import TOP

FRAGMENTS = sorted(set((TOP / "changelog.d").glob("*")) - {TOP / "changelog.d" / "README.md"})


def test_every_fragment_is_in_the_draft_of_the_changelog() -> None:
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0.1.0"]
    draft = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout
    said = " ".join(draft.split())
    for fragment in FRAGMENTS:
        assert " ".join(fragment.read_text("utf-8").split()) in said, fragment.name


def test_the_changelog_has_the_place_for_it() -> None:
    page = (TOP / "CHANGELOG.md").read_text("utf-8")
    assert page.count("<!-- towncrier release notes start -->\n") == 1
