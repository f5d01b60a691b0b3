"""Makes the helpers of this folder importable, here and in child processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
ROOT = str(Path(__file__).resolve().parents[2])

if HERE not in sys.path:
    sys.path.insert(0, HERE)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [HERE, ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
)
