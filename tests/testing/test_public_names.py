"""The names of the kit: each is found, and who lacks what it stands on is told what to install."""

from __future__ import annotations

import sys

import pytest

import meerkat.testing as kit


def test_every_name_is_found() -> None:
    assert sorted(kit.__all__) == sorted(kit._WHERE)
    assert all(getattr(kit, name) is not None for name in kit.__all__)


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
