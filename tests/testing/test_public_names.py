"""The names of the kit: each is found, and who lacks what it stands on is told what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

import meerkat.testing as kit


def test_every_name_is_found() -> None:
    assert sorted(kit.__all__) == sorted(kit._WHERE)
    assert all(getattr(kit, name) is not None for name in kit.__all__)


@pytest.mark.parametrize("module", ["meerkat.testing", "meerkat.store"])
def test_whoever_looks_around_is_shown_names_that_are_not_loaded_yet(module: str) -> None:
    program = (
        f"import {module} as it\n"
        "missing = set(it.__all__) - set(dir(it))\n"
        "assert not missing, missing\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("RecordingDisk", "apsw"),
        ("RuntimeStateMachine", "hypothesis"),
        ("StoreConformance", "pytest"),
    ],
)
def test_what_is_not_installed_is_told_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, name: str, needed: str
) -> None:
    getattr(kit, name)
    for loaded in list(sys.modules):
        if loaded.startswith("meerkat.testing."):
            monkeypatch.delitem(sys.modules, loaded)
    for gone in [each for each in sys.modules if each.partition(".")[0] == needed]:
        monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(ModuleNotFoundError, match=rf"{name} needs {needed}: pip install") as told:
        getattr(kit, name)
    assert told.value.name == needed
