"""Many threads on several engines for some seconds; the long form is ``make stress``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("api", ["cuda", "pycuda"])
def test_many_threads_contexts_and_engines(api: str) -> None:
    pytest.importorskip({"cuda": "cuda.bindings", "pycuda": "pycuda"}[api])
    command = [sys.executable, "-m", "benchmarks.stress", "--seconds", "10", "--device-api", api]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
