"""What a comparison of outputs cannot see: overflow that the runtime hides, error per tensor, what to keep."""

import numpy as np
import onnx
import onnx.reference
import pytest

from tests import networks
from tests.networks import model, node, value
from trtconv.core.errors import UsageError
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, KeepRules
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, lower
from trtconv.stages.verify import VerifyRequest, verify
from trtconv.stages.verify.bisect import BisectRequest, bisect, minimal
from trtconv.stages.verify.records import Bound


def squares():
    """Products near 800,000 before a mean, beside a harmless branch: float16 ends at 65,504.

    Without samples nobody knows them to be squares: both factors are made by a matrix of its own.
    """
    nodes = [
        node("MatMul", "x w", "wide", "widen"),
        node("MatMul", "x w", "again", "widen_again"),
        node("Mul", "wide again", "squares", "square"),
        node("ReduceMean", "squares", "mean", "average", axes=[1]),
        node("Mul", "x half", "calm", "damp"),
        node("Mul", "mean tiny", "small", "shrink"),
        node("Add", "calm small", "y", "join"),
    ]
    constants = {"w": (900 * np.eye(8)).astype(np.float32), "half": np.float32([0.5]), "tiny": np.float32([1e-4])}
    return model(nodes, [value("x", ["n", 8])], [value("y", ["n", 8])], constants)


@pytest.fixture
def overflowing(tmp_path):
    onnx.save(squares(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0.5, 1, (20, 8)).astype(np.float32))
    lower(LowerRequest(tmp_path / "model.onnx", tmp_path / "half.onnx", "fp16"), ignore)
    return tmp_path


def compared(folder, typed="half.onnx", **options):
    request = VerifyRequest(
        folder / "model.onnx",
        "FP32",
        {"half": folder / typed},
        FeedSpec(folder / "x.npy"),
        8,
        {"half": Bound(0.01)},
        **options,
    )
    return verify(request, ignore)


def test_overflow_that_the_outputs_do_not_show(overflowing):
    result = compared(overflowing)
    hidden = networks.run(onnx.load(overflowing / "half.onnx"), {"x": np.load(overflowing / "x.npy")})["y"]
    assert np.isfinite(hidden).all()  # the runtime computes in FP32 between the casts
    assert not result.verdicts[0].outputs[0].finite
    assert result.verdicts[0].basis == "strict"
    exact = onnx.reference.ReferenceEvaluator(str(overflowing / "half.onnx"))
    with np.errstate(over="ignore"):
        assert not np.isfinite(exact.run(None, {"x": np.ones((1, 8), np.float32)})[0]).all()  # what float16 gives
    assert [(o.tensor, o.op, o.node) for o in result.verdicts[0].overflows] == [("squares", "Mul", "square")]
    assert result.violations == (
        "half: output 'y' holds NaN or infinity; half precision overflows at 'squares' (Mul 'square')",
    )


def test_ranges_measured_before_prevent_it(overflowing):
    data = FeedSpec(overflowing / "x.npy")
    calibrate(CalibrateRequest(overflowing / "model.onnx", data, overflowing / "m.cache"), ignore)
    lower(LowerRequest(overflowing / "model.onnx", overflowing / "safe.onnx", "fp16", overflowing / "m.cache"), ignore)
    result = compared(overflowing, "safe.onnx")
    assert result.verdicts[0].overflows == ()
    assert result.violations == ()


def test_masks_are_no_overflow(tmp_path):
    mask = np.where(np.arange(4) < 2, 0, -np.inf).astype(np.float32)
    network = model(
        [node("Add", "x mask", "masked"), node("Softmax", "masked", "y")],
        [value("x", ["n", 4])],
        [value("y", ["n", 4])],
        {"mask": mask},
    )
    onnx.save(network, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    lower(LowerRequest(tmp_path / "model.onnx", tmp_path / "half.onnx", "fp16"), ignore)
    assert compared(tmp_path).verdicts[0].overflows == ()


def test_every_tensor_is_compared_by_the_formula(tmp_path):
    network = networks.residual_cnn()
    onnx.save(network, tmp_path / "model.onnx")
    images = networks.images(12)
    np.save(tmp_path / "x.npy", images)
    lower(LowerRequest(tmp_path / "model.onnx", tmp_path / "half.onnx", "fp16"), ignore)
    layers = compared(tmp_path, per_layer=True).verdicts[0].layers
    names = {name for one in network.graph.node for name in one.output}
    assert {layer.comparison.output for layer in layers} == names
    decibels = [layer.comparison.snr_db for layer in layers]
    assert decibels == sorted(decibels)
    typed = onnx.load(tmp_path / "half.onnx")
    inner = onnx.ModelProto()
    inner.CopyFrom(typed)
    inner.graph.output.append(onnx.ValueInfoProto(name="stem_relu"))
    inner.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    evaluator = onnx.reference.ReferenceEvaluator(inner)
    got = dict(zip(evaluator.output_names, evaluator.run(None, {"image": images}), strict=True))["stem_relu"]
    wanted = networks.everything(network, {"image": images})["stem_relu"]
    stem = next(layer for layer in layers if layer.comparison.output == "stem_relu")
    assert stem.comparison.snr_db == pytest.approx(networks.decibels(wanted, got), abs=0.5)
    assert (stem.op, stem.dtype) == ("Relu", "float16")


def test_per_layer_needs_the_fp32_model(overflowing):
    np.savez(overflowing / "wanted.npz", y=np.zeros((20, 8), np.float32))
    request = VerifyRequest(
        overflowing / "wanted.npz",
        "stored",
        {"half": overflowing / "half.onnx"},
        FeedSpec(overflowing / "x.npy"),
        per_layer=True,
    )
    with pytest.raises(UsageError, match="needs an FP32 ONNX model as reference"):
        verify(request, ignore)


def test_bisect_finds_the_node_and_its_yaml_cures(overflowing):
    import yaml

    data = FeedSpec(overflowing / "x.npy")
    found = bisect(BisectRequest(overflowing / "model.onnx", data, "fp16", max_rel=0.01), ignore)
    assert (found.section, found.before) == ("keep", "'squares' overflows")
    assert found.nodes == ("square", "average", "shrink")  # the mean, which shrink reads, is beyond 65,504 as well
    names = yaml.safe_load(found.yaml)["lower"]["keep"]["names"]
    request = LowerRequest(
        overflowing / "model.onnx", overflowing / "cured.onnx", "fp16", keep=KeepRules(names=tuple(names))
    )
    lower(request, ignore)
    assert compared(overflowing, "cured.onnx").violations == ()
    exact = onnx.reference.ReferenceEvaluator(str(overflowing / "cured.onnx"))
    x = np.load(overflowing / "x.npy")
    wanted = networks.run(squares(), {"x": x})["y"]
    np.testing.assert_allclose(exact.run(None, {"x": x})[0], wanted, rtol=0.01)


def test_bisect_of_int8_leaves_out_the_fewest_layers(tmp_path):
    onnx.save(networks.residual_cnn(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", networks.images(24))
    data, cache = FeedSpec(tmp_path / "x.npy"), tmp_path / "m.cache"
    calibrate(CalibrateRequest(tmp_path / "model.onnx", data, cache), ignore)

    def decibels(**rules):
        lower(LowerRequest(tmp_path / "model.onnx", tmp_path / "t.onnx", "int8", cache, **rules), ignore)
        feeds = {"image": networks.images(24)}
        wanted = networks.run(onnx.load(tmp_path / "model.onnx"), feeds)
        typed = onnx.reference.ReferenceEvaluator(str(tmp_path / "t.onnx"))
        got = dict(zip(typed.output_names, typed.run(None, feeds), strict=True))
        return min(networks.decibels(wanted[name], got[name]) for name in wanted)

    gate = decibels() + 2.9  # strict and the reference round the same, but for ties
    found = bisect(BisectRequest(tmp_path / "model.onnx", data, "int8", cache, min_snr_db=gate), ignore)
    assert found.section == "exclude"
    assert 1 <= len(found.nodes) < 7
    anchored = [f"^{name}$" for name in found.nodes]
    assert decibels(exclude=KeepRules(names=tuple(anchored))) >= gate
    for spared in anchored:  # none can be left out
        assert decibels(exclude=KeepRules(names=tuple(n for n in anchored if n != spared))) < gate


def test_bisect_says_when_there_is_nothing_to_do(overflowing):
    data = FeedSpec(overflowing / "x.npy")
    keep = KeepRules(names=("square", "average", "shrink"))
    assert bisect(BisectRequest(overflowing / "model.onnx", data, "fp16", keep=keep, max_rel=0.1), ignore).nodes == ()
    with pytest.raises(UsageError, match="nothing to bisect"):
        bisect(BisectRequest(overflowing / "model.onnx", data, "tf32", max_rel=0.1), ignore)
    with pytest.raises(UsageError, match="needs a gate"):
        bisect(BisectRequest(overflowing / "model.onnx", data, "fp16"), ignore)


@pytest.mark.parametrize("culprits", [{3}, {0, 7}, {1, 2, 11}, set(range(12))])
def test_minimal_finds_exactly_the_culprits(culprits):
    tried = []

    def cures(items):
        tried.append(items)
        return culprits <= set(map(int, items))

    assert set(map(int, minimal([str(n) for n in range(12)], cures))) == culprits
    assert len(tried) <= 12 * 12
