"""The control plane on a Ray cluster: shards of runtimes, each an actor that Ray places.

``RayControlPlane`` has the calls of ``ControlPlane``. It needs the extra ``[ray]``, and
``[postgres]`` for the database that the shards share.
"""

from __future__ import annotations

from typing import Final

_EXTRA: Final = frozenset({"ray"})
"""What it stands on, and nothing else here needs."""

try:
    from actors.ray.control_plane import RayControlPlane
    from actors.ray.looks import ShardLook, WireFigures
except ModuleNotFoundError as missing:
    if missing.name not in _EXTRA:
        raise
    raise ModuleNotFoundError(
        f"actors.ray needs {missing.name}: pip install 'meerkat-runtime[ray]'",
        name=missing.name,
    ) from None

__all__ = ["RayControlPlane", "ShardLook", "WireFigures"]
