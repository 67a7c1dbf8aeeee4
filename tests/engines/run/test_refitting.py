"""trtconv refit: proof of the same network first, then the refitter, or the same build again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.engines.test_recorded_apis import ALL, TENSORRT, built, called
from trtconv.adapters import cuda_driver
from trtconv.core.errors import EnvironmentProblem, SourceError, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import Features
from trtconv.engines.build import workarounds
from trtconv.engines.plan import sidecar
from trtconv.pipeline import refit as refitting
from trtconv.pipeline.refit import RefitRequest, refit

TAKES = Features(refit=True)
STRIPPED = Features(stripped=True)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refitting, "_aside", lambda task, emit, log: refitting.replace(task, emit))


def changed(model: Path, change: Callable[[onnx.ModelProto], None], name: str = "other.onnx") -> Path:
    """A copy of a model with something else in it."""
    copy = onnx.load(model)
    change(copy)
    onnx.save(copy, model.with_name(name))
    return model.with_name(name)


def other_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(values * 3, tensor.name))


def asked(engine: Path, model: Path) -> Any:
    return refit(RefitRequest(engine, model, engine.with_name("new.engine")), ignore)


@pytest.mark.parametrize("record", ALL)
def test_the_refitter_replaces_weights(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    fake.refittable = ["two"]
    engine = built(fake, doubling, features=TAKES)
    before = engine.read_bytes()
    model = changed(doubling, other_weights)
    result = asked(engine, model)
    assert (result.how, result.why, result.weights, result.changed) == ("refitted", "", 1, 1)
    assert "TensorRT replaced 1 weights and wants no other" in result.proof
    assert result.runner.endswith("on NVIDIA H200")
    assert engine.read_bytes() == before
    assert result.engine.read_bytes() == fake.plan + b"with other weights"
    assert result.size == result.engine.stat().st_size
    assert called(fake, "OnnxParserRefitter.refit_from_file") == [{"model": str(model)}]
    flags = fake.SerializationFlag
    assert called(fake, "ISerializationConfig.clear_flag") == [{"flag": flags.EXCLUDE_WEIGHTS}]
    assert called(fake, "ISerializationConfig.set_flag") == [{"flag": flags.INCLUDE_REFIT}]
    facts = json.loads(result.sidecar.read_text())
    assert facts["model"]["file"] == "other.onnx"
    assert facts["engine"]["size"] == result.size
    assert facts["provenance"]["refit"]["engine"] == engine.name
    assert facts["network"] == json.loads(sidecar.path_of(engine).read_text())["network"]


@pytest.mark.parametrize("record", TENSORRT)
def test_the_refitter_gets_what_the_builder_got(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch, record: str
) -> None:
    """Models that are rewritten for the builder have weights of their own."""
    fake, _ = install(record)
    fake.refittable = ["two"]
    monkeypatch.setattr(workarounds, "rewritten", lambda model: b"rewritten")
    engine = built(fake, doubling, features=TAKES)
    model = changed(doubling, other_weights)
    assert asked(engine, model).how == "refitted"
    assert called(fake, "OnnxParserRefitter.refit_from_bytes") == [{"model": b"rewritten", "path": str(model)}]


@pytest.mark.parametrize("record", TENSORRT)
def test_a_stripped_engine_becomes_whole(install: Any, doubling: Path, record: str) -> None:
    fake, _ = install(record)
    fake.refittable = ["two"]
    engine = built(fake, doubling, features=STRIPPED)
    result = asked(engine, doubling)
    assert (result.how, result.changed) == ("refitted", 0)
    assert sidecar.features(engine).stripped
    assert not sidecar.features(result.engine).stripped
    assert result.size_before == engine.stat().st_size


@pytest.mark.parametrize(
    ("features", "state", "why"),
    [
        (Features(), {}, "the engine was built without build.refit"),
        (STRIPPED, {"refittable": ["two"]}, "takes back the weights that it was built with only, and these are others"),
        (TAKES, {"refittable": []}, "TensorRT cannot replace 'two'"),
        (TAKES, {"refittable": ["two"], "missing": ["three"]}, "TensorRT wants 1 weights that the model does not have"),
        (TAKES, {"refittable": ["two"], "refits": False}, "the weights cannot be replaced: no reason given"),
    ],
)
@pytest.mark.parametrize("record", ALL)
def test_where_it_cannot_the_engine_is_built_again(
    install: Any, doubling: Path, record: str, features: Features, state: dict[str, Any], why: str
) -> None:
    fake, _ = install(record)
    engine = built(fake, doubling, features=features, workspace=1 << 28)
    vars(fake).update(state)
    fake.calls.clear()
    result = asked(engine, changed(doubling, other_weights))
    assert result.how == "rebuilt"
    assert why in result.why
    assert called(fake, "IBuilderConfig.set_memory_pool_limit")[0]["pool_size"] == 1 << 28  # as it was built
    asks = {given["flag"].name for given in called(fake, "IBuilderConfig.set_flag")}
    assert "STRIP_PLAN" not in asks
    assert ("REFIT" in asks) is features.refit
    assert any(sentence.startswith("the same 3 layers") for sentence in result.proof)
    assert json.loads(result.sidecar.read_text())["provenance"]["refit"]["how"] == "rebuilt"


def test_without_a_gpu_none_is_made_that_takes_others(
    install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, _ = install("tensorrt_rtx-1.7.1")
    engine = built(fake, doubling, features=TAKES)
    monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(0, (), "no NVIDIA driver"))
    with pytest.raises(EnvironmentProblem, match="builds such engines on a GPU only, and no NVIDIA driver"):
        asked(engine, changed(doubling, other_weights))
    assert not engine.with_name("new.engine").exists()


def _other_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Add"


def _other_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((1, 4), np.float32), "two"))


def _other_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float16(2), "two"))


def _other_name(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "three"


def _other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


def _more(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["y"], ["z"], name="more"))


def _other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_other_attribute, "nodes: double is another"),
        (_other_shape, "weights: two is float [1, 4], not float []"),
        (_other_type, "weights: two is float16 [], not float []"),
        (_other_name, "weights: two is gone; three is new"),
        (_other_input, "inputs: x is float ['batch', 5], not float ['batch', 4]"),
        (_more, "nodes: more is new"),
        (_other_opset, "opsets: ai.onnx is 18, not 17"),
    ],
)
@pytest.mark.parametrize("kept", [True, False])
def test_another_network_is_refused_with_what_differs(
    install: Any, doubling: Path, change: Any, says: str, kept: bool
) -> None:
    fake, _ = install(ALL[0])
    engine = built(fake, doubling, features=TAKES)
    other = changed(doubling, change)
    if not kept:  # the digests in the sidecar still tell which kinds differ
        doubling.unlink()
    with pytest.raises(SourceError, match=r"is not the network of doubling\.engine, trained again") as refused:
        asked(engine, other)
    assert (says if kept else f"{says.partition(':')[0]}") in refused.value.message
    assert not engine.with_name("new.engine").exists()


def test_what_nobody_can_prove(install: Any, doubling: Path) -> None:
    fake, _ = install(ALL[0])
    engine = built(fake, doubling)
    with pytest.raises(UsageError, match="the result would take its place"):
        refit(RefitRequest(engine, doubling, engine), ignore)
    facts = json.loads(sidecar.path_of(engine).read_text())
    del facts["network"]  # as an older trtconv wrote it
    sidecar.path_of(engine).write_text(json.dumps(facts))
    assert asked(engine, doubling).changed == 0  # by the file, which is where it was
    doubling.rename(doubling.with_name("moved.onnx"))
    with pytest.raises(UsageError, match="does not say what network the engine computes"):
        asked(engine, doubling.with_name("moved.onnx"))
    sidecar.path_of(engine).unlink()
    with pytest.raises(UsageError, match=r"nothing says what doubling\.engine was built from"):
        asked(engine, doubling.with_name("moved.onnx"))
