"""Parts as one ONNX model with EPContext nodes: what is in it, and that its wires are those of the whole model.

ONNX Runtime's own TensorRT providers need a GPU: here its refusal by name is all that they say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conftest import INT8_CONVOLUTIONS, Cli
from tests.parts import made
from tests.parts_lines import LINES, Line
from trtconv.adapters import onnxruntime
from trtconv.core.errors import TrtconvError
from trtconv.engines.plan import manifest
from trtconv.stages.build import epcontext

pytestmark = pytest.mark.rtx


READ = {
    "embed_mode": "INT",
    "ep_cache_context": "STRING",
    "partition_name": "STRING",
    "onnx_model_filename": "STRING",
    "main_context": "INT",
    "ep_sdk_version": "STRING",
    "source": "STRING",
}
"""What ONNX Runtime's provider and NVIDIA's read or write (their onnx_ctx_model_helper), and its type."""


def contexts(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == "EPContext"]


def attributes(node: Any) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


@pytest.fixture(
    scope="module",
    params=[
        "an If and a Loop",
        "dynamic batch, height and width",
        pytest.param("quantized pairs", marks=INT8_CONVOLUTIONS),
    ],
)
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Line:
    found: Line = LINES[request.param](tmp_path_factory.mktemp("line"))
    made(found.model, epcontext=found.model.with_name("context.onnx"), **found.options)
    return found


def test_engines_are_nodes_with_all_that_a_provider_needs(line: Line) -> None:
    found = manifest.read(line.model.with_suffix(".parts"))
    model = onnx.load(line.model.with_name("context.onnx"))
    onnx.checker.check_model(model)
    engines = [part for part in found.parts if part["kind"] == "engine"]
    for node, part in zip(contexts(model), engines, strict=True):
        assert (node.domain, list(node.input)) == ("com.microsoft", [one["name"] for one in part["inputs"]])
        assert list(node.output) == [one["name"] for one in part["outputs"]]
        told = attributes(node)
        assert (told["main_context"], told["embed_mode"]) == (1, 1)
        assert told["source"] == b"NvTensorRTRTXExecutionProvider"
        assert told["ep_sdk_version"].decode() == found.facts["version"]
        kinds = {each.name: onnx.AttributeProto.AttributeType.Name(each.type) for each in node.attribute}
        assert READ.items() <= kinds.items()
        assert Path(told["onnx_model_filename"].decode()).name == part["onnx"]
        assert told["ep_cache_context"] == (found.folder / part["engine"]).read_bytes()
    typed = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    assert typed >= {one["name"] for part in found.parts for one in (*part["inputs"], *part["outputs"])}
    with pytest.raises(TrtconvError, match="EPContext"):
        onnxruntime.session(model.SerializeToString())


def test_its_wires_are_those_of_the_whole(line: Line) -> None:
    """With what the engines were built from in their place, ONNX Runtime computes what the whole computes."""
    found = manifest.read(line.model.with_suffix(".parts"))
    plain = epcontext.joined(found, engines=False)
    onnx.checker.check_model(plain)
    context = epcontext.joined(found)
    assert [list(node.output) for node in contexts(context)] == [
        [one["name"] for one in part["outputs"]] for part in found.parts if part["kind"] == "engine"
    ]
    whole, joined = (onnxruntime.session(m, optimize=False) for m in (line.model, plain.SerializeToString()))
    for feeds in line.feeds:
        for name, array in whole.run(feeds).items():
            np.testing.assert_allclose(joined.run(feeds)[name], array, atol=1e-5, rtol=1e-5)


def test_by_command(tmp_path: Path, trtconv: Cli) -> None:
    line = LINES["a detector that ends in suppression"](tmp_path)
    arguments = ["build", line.model, "-o", "net.parts", "--on-refusal", "onnxruntime", "--epcontext", "one.onnx"]
    done = trtconv(*arguments)
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "one.onnx").read_bytes()
    assert [node.op_type for node in onnx.load(tmp_path / "one.onnx").graph.node][:2] == [
        "EPContext",
        "NonMaxSuppression",
    ]
    (tmp_path / "one.onnx").unlink()
    again = trtconv(*arguments)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "one.onnx").read_bytes() == first
    alone = trtconv("build", line.model, "-o", "net.engine", "--epcontext", "one.onnx")
    assert alone.returncode == 2
    assert "epcontext belongs to fallback: onnxruntime" in alone.stderr
