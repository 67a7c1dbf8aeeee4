"""A job that asks for what its targets cannot do fails before anything runs."""

from __future__ import annotations

import re
import subprocess
import sys

import onnx
import pytest

from tests import networks
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.job.load import checked
from trtconv.job.schema import Job
from trtconv.job.yaml_tree import Tree
from trtconv.pipeline import capability_check
from trtconv.pipeline.matrix import cells


def job(tmp_path, **keys):
    path = tmp_path / "model.onnx"
    if not path.exists():
        onnx.save(networks.residual_cnn(), path)
    return checked(Job, Tree({"version": 1, "source": {"path": str(path)}, **keys}, values={(): "job"}), tmp_path)


CACHE = "TRT-8501-EntropyCalibration2\nx: 3c010a14\n"


@pytest.mark.parametrize(
    ("precision", "targets", "message"),
    [
        ("bf16", ["sm75"], "bf16 cannot be built for sm75: bfloat16 needs compute capability 8.0"),
        ("fp8", ["sm86", "sm89"], "fp8 cannot be built for sm86: FP8 needs compute capability 8.9"),
    ],
)
def test_types_that_a_target_lacks(tmp_path, precision, targets, message):
    (tmp_path / "c.cache").write_text(CACHE)
    wanted = job(tmp_path, precision=[precision], build={"targets": targets}, calibrate={"cache": "c.cache"})
    with pytest.raises(UsageError, match=message) as caught:
        capability_check.require(cells(wanted))
    assert "build.targets" in caught.value.hint


def test_a_matrix_is_judged_cell_by_cell(tmp_path):
    axes = {"precision": ["fp16", "bf16"], "target": ["sm75", "sm86"]}
    with pytest.raises(UsageError) as caught:
        capability_check.require(cells(job(tmp_path, matrix=axes)))
    assert str(caught.value).count("cannot be built") == 1
    capability_check.require(
        cells(job(tmp_path, matrix={**axes, "exclude": [{"precision": "bf16", "target": "sm75"}]}))
    )


@pytest.mark.parametrize(("version", "refused"), [("1.5.0.114", True), ("1.6.1.120", True), ("1.7.1.116", False)])
def test_int8_convolutions_need_a_recent_tensorrt_rtx(tmp_path, version, refused):
    (tmp_path / "c.cache").write_text(CACHE)
    keys = {"precision": ["int8"], "calibrate": {"cache": "c.cache"}}
    wanted = job(tmp_path, **keys)
    if refused:
        with pytest.raises(EnvironmentProblem, match=f"TensorRT-RTX {version} has no INT8 conv.* has 6 conv") as e:
            capability_check.require_int8_conv(wanted, tmp_path / "model.onnx", version)
        assert "1.7" in e.value.hint
    else:
        capability_check.require_int8_conv(wanted, tmp_path / "model.onnx", version)
    capability_check.require_int8_conv(wanted, None, version)
    without = job(tmp_path, **keys, lower={"exclude": {"ops": ["Conv"]}})
    capability_check.require_int8_conv(without, tmp_path / "model.onnx", version)


@pytest.mark.parametrize(
    ("precision", "excluded", "hint"),
    [
        ("fp32", [], "use fp16"),
        ("tf32", [], "use fp16"),
        ("int8", [], r"exclude: {ops: \[MatMul, Gemm\]}"),
        ("int8", ["MatMul"], ""),
        ("fp16", [], ""),
    ],
)
def test_turing_has_no_matrix_products_in_fp32(tmp_path, precision, excluded, hint):
    (tmp_path / "c.cache").write_text(CACHE)
    keys = {"precision": [precision], "calibrate": {"cache": "c.cache"}, "lower": {"exclude": {"ops": excluded}}}
    wanted = cells(job(tmp_path, **keys, build={"targets": ["sm75", "sm86"]}))
    if hint:
        with pytest.raises(UsageError, match=r"no FP32 matrix products for Turing, and .* has MatMul") as caught:
            capability_check.require_products(wanted, tmp_path / "model.onnx")
        assert re.search(hint, caught.value.hint)
    else:
        capability_check.require_products(wanted, tmp_path / "model.onnx")
    capability_check.require_products(wanted, None)
    capability_check.require_products(
        cells(job(tmp_path, **keys, build={"targets": ["sm86"]})), tmp_path / "model.onnx"
    )


def test_check_says_so(tmp_path):
    job(tmp_path)
    (tmp_path / "j.yaml").write_text(
        "version: 1\nsource: {path: model.onnx}\nprecision: [bf16]\nbuild: {targets: [sm75]}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "trtconv", "check", "j.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "bf16 cannot be built for sm75" in done.stderr
    assert not (tmp_path / "build").exists()
