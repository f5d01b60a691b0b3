"""Pytest as a host runs it: in a process and a folder of its own, with our plugin and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import meerkat

TOP = Path(meerkat.__file__).parent.parent
"""Where the packages and the plugin are; a process does not need them to be installed."""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder; its output is one text."""
    command = [sys.executable, "-m", "pytest", "-p", "meerkat_pytest", "-p", "no:cacheprovider"]
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
        "PYTHONPATH": os.pathsep.join([str(TOP), os.environ.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [*command, "--rootdir", str(folder), "-c", os.devnull, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
