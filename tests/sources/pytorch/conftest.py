"""The interpreter that has PyTorch: this one, or the one that TRTCONV_TEST_TORCH_PYTHON names."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """Its path; skips where there is none."""
    if named := os.environ.get("TRTCONV_TEST_TORCH_PYTHON"):
        return Path(named)
    if importlib.util.find_spec("torch") and importlib.util.find_spec("onnxscript"):
        return Path(sys.executable)
    pytest.skip("no PyTorch: pip install 'trtconv[torch]', or name an interpreter in TRTCONV_TEST_TORCH_PYTHON")


@pytest.fixture(scope="session")
def made(torch_python: Path, shared_folder: Path) -> Path:
    """A folder with what make_models.py writes."""
    folder = shared_folder / "pytorch-models"
    if not (folder / "done").exists():
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [torch_python, HERE / "make_models.py", folder], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        (folder / "done").touch()
    return folder
