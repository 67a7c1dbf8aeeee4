import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.conftest import INT8_CONVOLUTIONS
from tests.networks import decibels, fully_checked, images, model, node, ops, residual_cnn, run, value
from trtconv.calibration import cache as caches
from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.events import Message, ignore
from trtconv.core.records import PRECISIONS, FeedSpec, KeepRules
from trtconv.graph import types
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, lower


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    onnx.save(residual_cnn(), folder / "m.onnx")
    np.savez(folder / "x.npz", image=images(32))
    calibrate(CalibrateRequest(folder / "m.onnx", FeedSpec(folder / "x.npz"), folder / "m.cache"), ignore)
    return folder


def request(calibrated, tmp_path, precision, **options):
    options.setdefault("cache", calibrated / "m.cache")
    return LowerRequest(calibrated / "m.onnx", tmp_path / "typed.onnx", precision, **options)


@pytest.mark.parametrize(
    ("precision", "weighted", "pairs", "least"),
    [
        ("fp32", {"float": 7}, 0, 200),
        ("tf32", {"float": 7}, 0, 200),
        ("fp16", {"float16": 7}, 0, 55),
        ("int8", {"int8": 7}, 8, 33),
        ("fp8", {"float16": 5, "float8e4m3fn": 2}, 4, 25),
    ],
)
def test_every_precision_that_runs_here(calibrated, tmp_path, precision, weighted, pairs, least):
    result = lower(request(calibrated, tmp_path, precision), ignore)
    assert (result.weighted, result.qdq_pairs) == (weighted, pairs)
    typed = fully_checked(onnx.load(result.typed))
    types.check(typed)
    feeds = {"image": images(32)}
    wanted = run(residual_cnn(), feeds)["logits"]
    made = run(typed, feeds, optimize=precision != "fp8")["logits"]
    assert np.array_equal(made, wanted) if least == 200 else decibels(wanted, made) > least


def test_bf16(calibrated, tmp_path):
    result = lower(request(calibrated, tmp_path, "bf16"), ignore)
    assert result.weighted == {"bfloat16": 7}
    types.check(fully_checked(onnx.load(result.typed)))


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_fp32_is_the_same_file(calibrated, tmp_path, precision):
    lower(request(calibrated, tmp_path, precision, cache=None), ignore)
    assert (tmp_path / "typed.onnx").read_bytes() == (calibrated / "m.onnx").read_bytes()


def test_fp32_of_a_model_with_external_data_is_complete(tmp_path):
    network = model(
        [node("MatMul", "x w", "y")],
        [value("x", ["n", 64])],
        [value("y", ["n", 64])],
        {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)},
    )
    (tmp_path / "in").mkdir()
    wanted = run(network, feeds := {"x": np.ones((1, 64), np.float32)})["y"]
    onnx.save(network, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="w.bin")
    lower(LowerRequest(tmp_path / "in" / "m.onnx", tmp_path / "out" / "m.onnx", "fp32"), ignore)
    np.testing.assert_array_equal(run(onnx.load(tmp_path / "out" / "m.onnx"), feeds)["y"], wanted)


def test_int8_can_rest_on_fp32(calibrated, tmp_path):
    result = lower(request(calibrated, tmp_path, "int8", base="fp32"), ignore)
    typed = onnx.load(result.typed)
    assert (result.weighted, result.casts) == ({"int8": 7}, 0)
    assert TensorProto.FLOAT16 not in types.infer(typed).values()


def test_the_sidecars_magnitudes_guard_half_precision(calibrated, tmp_path):
    facts = caches.read_facts(calibrated / "m.cache")
    grown = {**facts.amax, "block0_sum_relu": 4e4}
    path = tmp_path / "grown.cache"
    caches.write(path, caches.read(calibrated / "m.cache"), caches.Facts(**{**facts.__dict__, "amax": grown}))
    result = lower(request(calibrated, tmp_path, "fp16", cache=path), ignore)
    assert result.weighted == {"float": 2, "float16": 5}
    assert dict(result.left_out)["block1_first_conv"] == "'block0_sum_relu' reaches 4e+04, above 3.275e+04"


def test_exclude_takes_int8_away_and_keep_takes_everything(calibrated, tmp_path):
    events = []
    result = lower(
        request(
            calibrated,
            tmp_path,
            "int8",
            exclude=KeepRules(names=("^head$", "relu$"), ops=("Tanh",)),
            keep=KeepRules(names=("^stem_conv$",)),
        ),
        events.append,
    )
    assert result.weighted == {"float": 1, "float16": 1, "int8": 5}
    assert dict(result.left_out) == {"head": "exclude: ^head$", "stem_conv": "keep: ^stem_conv$"}
    warnings = [event.text for event in events if isinstance(event, Message) and event.level == "warning"]
    (warning,) = warnings
    assert warning.startswith("lower.exclude.ops: the model has no Tanh; it has Add, ")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    ("rules", "says", "hint"),
    [
        ({"keep": KeepRules(names=("stem_con$",))}, "lower.keep.names: no node matches 'stem_con$'", "'stem_conv'"),
        ({"exclude": KeepRules(names=("^hed$",))}, "lower.exclude.names: no node matches '^hed$'", "'head'"),
        ({"keep": KeepRules(ops=("Convv",))}, "lower.keep.ops: neither the model nor ONNX has an operator", "'Conv'"),
        ({"exclude": KeepRules(ops=("Zzz",))}, "lower.exclude.ops: neither", "operators, such as Add, "),
    ],
)
def test_rules_that_name_nothing(calibrated, tmp_path, precision, rules, says, hint):
    with pytest.raises(UsageError) as raised:
        lower(request(calibrated, tmp_path, precision, **rules), ignore)
    assert says in raised.value.message
    assert hint in raised.value.hint
    assert not (tmp_path / "typed.onnx").exists()


def test_interface_in_half(calibrated, tmp_path):
    lower(request(calibrated, tmp_path, "fp16", io_types="convert"), ignore)
    graph = onnx.load(tmp_path / "typed.onnx").graph
    assert {one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_without_a_cache(calibrated, tmp_path, precision):
    with pytest.raises(UsageError, match=f"{precision} needs a calibration cache"):
        lower(request(calibrated, tmp_path, precision, cache=None), ignore)
    assert not (tmp_path / "typed.onnx").exists()


def written(tmp_path, amax, version=8501):
    """A cache as TensorRT writes it: no sidecar."""
    path = tmp_path / "given.cache"
    path.write_text(caches.dumps(caches.Cache(amax, version)))
    return path


def test_a_cache_written_by_tensorrt_8_is_enough(calibrated, tmp_path):
    """Without data and without a sidecar the same typed model results as with both."""
    ours = caches.read(calibrated / "m.cache").amax
    path = written(tmp_path, {"(Unnamed Layer* 24) [Shuffle]_output": 3.0, **ours})
    lower(request(calibrated, tmp_path, "int8", base="fp32", cache=path), ignore)
    alone = (tmp_path / "typed.onnx").read_bytes()
    lower(request(calibrated, tmp_path, "int8", base="fp32"), ignore)
    assert (tmp_path / "typed.onnx").read_bytes() == alone


def test_a_cache_that_covers_too_little_lists_what_is_missing(calibrated, tmp_path):
    amax = dict(caches.read(calibrated / "m.cache").amax)
    for name in ("flat", "block1_skip"):
        del amax[name]
    with pytest.raises(UsageError) as caught:
        lower(request(calibrated, tmp_path, "int8", cache=written(tmp_path, amax)), ignore)
    assert "covers 6 of the 8 tensors" in str(caught.value)
    assert "'block1_skip', 'flat'" in str(caught.value)
    lower(
        request(
            calibrated,
            tmp_path,
            "int8",
            cache=written(tmp_path, amax),
            exclude=KeepRules(names=("^head$", "block1_add")),
        ),
        ignore,
    )


def test_a_cache_for_another_network(calibrated, tmp_path):
    with pytest.raises(UsageError, match="covers 0 of the 8") as caught:
        lower(request(calibrated, tmp_path, "int8", cache=written(tmp_path, {"data": 1.0, "conv1": 2.0})), ignore)
    assert "another model" in caught.value.hint


def test_a_stale_cache_is_refused(calibrated, tmp_path):
    onnx.save(residual_cnn(seed=1), tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="calibrated for another model"):
        lower(LowerRequest(tmp_path / "other.onnx", tmp_path / "t.onnx", "int8", calibrated / "m.cache"), ignore)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("first", ["fp16", "int8"])
def test_a_typed_model_is_not_lowered_again(calibrated, tmp_path, first, precision):
    lower(request(calibrated, tmp_path, first), ignore)
    again = LowerRequest(tmp_path / "typed.onnx", tmp_path / "twice.onnx", precision, calibrated / "m.cache")
    with pytest.raises(ConversionError, match=r"typed\.onnx: the model is (quantized|typed) already") as caught:
        lower(again, ignore)
    assert "precision: typed" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("option", "wrong"), [("precision", "fp61"), ("base", "fp31"), ("io_types", "keeps")])
def test_unknown_choices(calibrated, tmp_path, option, wrong):
    settings = {"precision": "fp16", option: wrong}
    with pytest.raises(UsageError, match=f"{option}: .*{wrong}") as caught:
        lower(request(calibrated, tmp_path, **settings), ignore)
    assert caught.value.hint.startswith("did you mean")


@pytest.mark.parametrize("precision", ["fp16", "int8", "fp8", "bf16"])
def test_a_new_process_gives_the_same_bytes(calibrated, tmp_path, precision):
    lower(request(calibrated, tmp_path, precision), ignore)
    here = hashlib.sha256((tmp_path / "typed.onnx").read_bytes()).hexdigest()
    (tmp_path / "typed.onnx").unlink()
    code = "import pickle, sys; from trtconv.stages.lower import lower; lower(pickle.load(sys.stdin.buffer), print)"
    subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(request(calibrated, tmp_path, precision)),
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONHASHSEED": "99"},
    )
    assert hashlib.sha256((tmp_path / "typed.onnx").read_bytes()).hexdigest() == here


def test_nothing_to_quantize_is_told(tmp_path):
    onnx.save(model([node("Relu", "x", "y")], [value("x", [3])], [value("y", [3])]), tmp_path / "m.onnx")
    events = []
    result = lower(
        LowerRequest(tmp_path / "m.onnx", tmp_path / "t.onnx", "int8", written(tmp_path, {"x": 1.0})), events.append
    )
    assert result.weighted == {}
    assert any("no operator" in event.text and event.level == "warning" for event in events)
    assert ops(onnx.load(tmp_path / "t.onnx")) == ["Relu"]  # nothing computes: two casts would only cost


@pytest.mark.rtx
@pytest.mark.parametrize(
    "precision",
    [
        "fp32",
        "fp16",
        "bf16",
        pytest.param("int8", marks=INT8_CONVOLUTIONS),
        pytest.param("fp8", marks=pytest.mark.rtx(since="1.5", why="builds FP8 without a GPU")),
    ],
)
@pytest.mark.parametrize("base", ["fp16", "fp32"])
def test_tensorrt_rtx_builds_it(calibrated, tmp_path, precision, base):
    from trtconv.core import child
    from trtconv.stages.build import BuildRequest

    lower(request(calibrated, tmp_path, precision, base=base), ignore)
    build = BuildRequest(tmp_path / "typed.onnx", tmp_path / "t.engine", precision, "rtx", targets=("sm89",))
    result = child.call("trtconv.stages.build:build", build, ignore, tmp_path / "build.log").value
    assert result.engine.stat().st_size == result.size > 0
