"""Parts as one model with EPContext nodes under ONNX Runtime's own provider, against the whole model."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.test_parts import require_close
from tests.parts import made
from tests.parts_lines import LINES

pytestmark = pytest.mark.gpu
RUN = Path(__file__).with_name("run_epcontext.py")
LIBRARY = "libonnxruntime_providers_nv_tensorrt_rtx.so"


def provider() -> Path:
    """The library of the provider: TRTCONV_TEST_EP, or that of the package."""
    if named := os.environ.get("TRTCONV_TEST_EP"):
        return Path(named)
    spec = importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(
            "no provider: pip install onnxruntime-ep-nv-tensorrt-rtx-cu13, or name its library in TRTCONV_TEST_EP"
        )
    return Path(spec.submodule_search_locations[0]) / LIBRARY


@pytest.mark.parametrize("name", LINES)
def test_the_provider_runs_what_was_built(name: str, tmp_path: Path) -> None:
    library, line = provider(), LINES[name](tmp_path)
    context = tmp_path / "context.onnx"
    made(line.model, epcontext=context, **line.options)
    for feeds in line.feeds:
        np.savez(tmp_path / "x.npz", **feeds)
        files = [context, tmp_path / "x.npz", tmp_path / "y.npz", library]
        done = subprocess.run([sys.executable, RUN, *files], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        assert "NvTensorRTRTXExecutionProvider" in done.stdout
        require_close(line.model, feeds, dict(np.load(tmp_path / "y.npz")))
