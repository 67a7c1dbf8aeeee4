"""Every method of TensorRT's network API: what TensorRT-RTX computes on the GPU, against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.sources.network.cases import CASES
from tests.sources.network.real import Real

pytestmark = [pytest.mark.gpu, pytest.mark.rtx]
TOLERANCE = 3e-3
"""TensorRT-RTX 1.5 computes FP32 in TF32 on compute capability 9.0."""

REFUSED = {"non zero", "nms", "nms, all thresholds left out"}
"""What TensorRT-RTX has no kernels for."""

BUILT = [name for name, case in CASES.items() if not case.legacy and name not in REFUSED]


@pytest.mark.parametrize("name", BUILT)
def test_method(name: str, tmp_path: Path) -> None:
    from trtconv.engines.run.runner import open_engine

    case = CASES[name]
    Real(case).build(tmp_path / "case.engine")
    runner = open_engine(tmp_path / "case.engine")
    feeds = case.feeds()
    results = runner.run(feeds)
    with np.errstate(all="ignore"):
        wanted = case.expected(*feeds.values())
    for index, want in enumerate(wanted if isinstance(wanted, list) else [wanted]):
        got, exact = results[f"out{index}"], np.asarray(want).astype(float)
        assert got.shape == exact.shape
        assert np.abs(got.astype(float) - exact).max(initial=0.0) <= TOLERANCE * max(
            np.abs(exact).max(initial=0.0), 1e-6
        )
    runner.close()
