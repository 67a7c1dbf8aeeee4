"""trtconv cache: whoever wrote a cache, it is used by the names of its tensors or refused with counts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests import networks
from trtconv.calibration import cache as caches
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, lower


def trtconv(*arguments, folder):
    command = [sys.executable, "-m", "trtconv", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    onnx.save(networks.residual_cnn(), folder / "model.onnx")
    onnx.save(networks.residual_cnn(blocks=3, width=8), folder / "other.onnx")
    np.save(folder / "images.npy", networks.images(32))
    for method in ("minmax", "percentile", "entropy"):
        request = CalibrateRequest(
            folder / "model.onnx", FeedSpec(folder / "images.npy"), folder / f"{method}.cache", method
        )
        calibrate(request, ignore)
    return folder


def as_tensorrt_8(folder, name, drop=0, rename=""):
    """The same scales as TensorRT 8 writes them, without facts."""
    lines = (folder / "entropy.cache").read_text().splitlines()
    body = [rename + line for line in lines[1 + drop :]]
    (folder / name).write_text("\n".join(["TRT-8501-EntropyCalibration2", *body]) + "\n")
    return folder / name


def test_a_new_process_without_data_lowers_to_the_same_bytes(folder):
    ranges = ("calibrate", "model.onnx", "--data", "images.npy", "-o", "fresh.cache", "--method", "mse")
    for number, command in enumerate([ranges, ("--precision", "int8", "--cache", "fresh.cache")] * 2):
        if number % 2:
            command = ("lower", "model.onnx", "-o", f"typed{number}.onnx", *command)
        done = trtconv(*command, folder=folder)
        assert done.returncode == 0, done.stderr
    assert (folder / "typed1.onnx").read_bytes() == (folder / "typed3.onnx").read_bytes()
    assert trtconv("cache", "check", "fresh.cache", "model.onnx", folder=folder).returncode == 0


def test_a_cache_of_tensorrt_8_fits_by_names(folder):
    cache = as_tensorrt_8(folder, "trt8.cache")
    done = trtconv("cache", "check", cache, "model.onnx", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "used by its names" in done.stdout
    plain = folder / "plain.onnx"
    lower(LowerRequest(folder / "model.onnx", plain, "int8", cache, base="fp32"), ignore)
    lower(
        LowerRequest(folder / "model.onnx", folder / "own.onnx", "int8", folder / "entropy.cache", base="fp32"), ignore
    )
    assert plain.read_bytes() == (folder / "own.onnx").read_bytes()


def test_a_cache_of_another_graph_is_refused_with_counts(folder):
    cache = as_tensorrt_8(folder, "foreign.cache", rename="other/")
    count = len(caches.read(cache).amax)
    for command in (
        ("cache", "check", cache, "model.onnx"),
        ("lower", "model.onnx", "-o", "x.onnx", "--precision", "int8", "--cache", cache),
    ):
        done = trtconv(*command, folder=folder)
        assert done.returncode == 2
        assert f"{count} of its {count} names are no tensors of the model" in done.stderr
    assert not (folder / "x.onnx").exists()


def test_a_stale_cache_is_refused(folder):
    done = trtconv("cache", "check", "entropy.cache", "other.onnx", folder=folder)
    assert done.returncode == 2
    assert "was calibrated for another model than other.onnx" in done.stderr


def test_a_partial_cache_needs_a_lower_threshold(folder):
    from trtconv.core.errors import UsageError

    cache = as_tensorrt_8(folder, "partial.cache", drop=5)
    request = LowerRequest(folder / "model.onnx", folder / "part.onnx", "int8", cache)
    with pytest.raises(UsageError, match=r"covers \d of the \d+ tensors needed.*missing: .*share demanded is 1"):
        lower(request, ignore)
    accepted = lower(LowerRequest(folder / "model.onnx", folder / "part.onnx", "int8", cache, coverage=0.3), ignore)
    reasons = [reason for _, reason in accepted.left_out]
    assert any("the calibration cache does not cover its input" in reason for reason in reasons)
    assert 0 < accepted.weighted["int8"] < 7
    got = networks.run(onnx.load(folder / "part.onnx"), {"image": networks.images(4)})["logits"]
    wanted = networks.run(networks.residual_cnn(), {"image": networks.images(4)})["logits"]
    assert networks.decibels(wanted, got) > 20


def test_diff_names_what_changed(folder):
    same = trtconv("cache", "diff", "entropy.cache", "entropy.cache", "--json", folder=folder)
    assert json.loads(same.stdout)["diff"]["changed"] == {}
    found = json.loads(trtconv("cache", "diff", "minmax.cache", "percentile.cache", "--json", folder=folder).stdout)
    first, second = (caches.read(folder / f"{name}.cache").amax for name in ("minmax", "percentile"))
    wanted = {name for name in first if not np.isclose(first[name], second[name], rtol=1e-6, atol=0)}
    assert set(found["diff"]["changed"]) == wanted
    text = trtconv("cache", "diff", "minmax.cache", "percentile.cache", folder=folder).stdout
    assert f"{len(first) - len(wanted)} ranges agree, {len(wanted)} differ" in text


def test_merge_takes_the_larger_range(folder):
    one = as_tensorrt_8(folder, "one.cache", drop=3)
    two = folder / "two.cache"
    two.write_text("TRT-101401-EntropyCalibration2\nimage: 7f000000\nextra: 3c010a14\n")
    done = trtconv("cache", "merge", one, two, "-o", "merged.cache", folder=folder)
    assert done.returncode == 0, done.stderr
    merged, first, second = (caches.read(folder / name) for name in ("merged.cache", "one.cache", "two.cache"))
    assert merged.version == 101401
    for name in {*first.amax, *second.amax}:
        assert merged.amax[name] == max(first.amax.get(name, 0), second.amax.get(name, 0))
    mixed = trtconv("cache", "merge", one, "minmax.cache", "-o", "no.cache", folder=folder)
    assert mixed.returncode == 2
    assert "different algorithms" in mixed.stderr
    assert not (folder / "no.cache").exists()


def test_show_is_for_caches(folder):
    assert "calibration cache TRT-" in trtconv("cache", "show", "minmax.cache", folder=folder).stdout
    assert trtconv("cache", "show", "model.onnx", folder=folder).returncode == 2


def test_check_refuses_what_lower_would(folder):
    done = trtconv("lower", "model.onnx", "--precision", "fp16", "-o", "half.onnx", folder=folder)
    assert done.returncode == 0, done.stderr
    as_tensorrt_8(folder, "trt8.cache")
    for command in (
        "cache check trt8.cache half.onnx",
        "lower half.onnx --precision int8 --cache trt8.cache -o x.onnx",
    ):
        done = trtconv(*command.split(), folder=folder)
        assert done.returncode == 3
        assert "the model is typed already" in done.stderr


def test_show_takes_the_mark_of_windows_editors(folder):
    text = as_tensorrt_8(folder, "trt8.cache").read_text()
    (folder / "windows.cache").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    done = trtconv("cache", "show", "windows.cache", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 8501
