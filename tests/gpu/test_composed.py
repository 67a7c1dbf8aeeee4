"""Operators of ONNX Runtime, written with ONNX's own: engines on a GPU against ONNX Runtime's kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.graph.test_composition import KINDS, composed, run
from trtconv import Engine
from trtconv.core.events import ignore
from trtconv.stages.build import BuildRequest, build

pytestmark = pytest.mark.gpu
CLOSE = 5e-3
"""Of the largest value of an output: TensorRT-RTX multiplies FP32 in TF32 on compute capability 9.0."""

MOST = 16  # cases of a kind; of more, every so many
Arrays = Mapping[str, np.ndarray]


def cases(kind: Any) -> list[Any]:
    """Those that an engine can take: what decides sizes or scales is constant, which leaves nothing of Range."""
    found = [case for case in kind() if case.op != "Range"]
    for case in found:
        if case.op in ("Pad", "Trilu", "QuantizeLinear", "DequantizeLinear"):
            case.constants = range(1, len(case.inputs))
        if case.op in ("QuantizeLinear", "DequantizeLinear"):
            case.inputs = [*case.inputs[:2], np.int8(0)]  # TensorRT has no other zero point
    return found[:: -(-len(found) // MOST)]


def together(kind: Any) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cases of a kind, composed, side by side in one model of fixed sizes; its inputs, and what the kernels give."""
    whole = onnx.ModelProto(ir_version=8)
    whole.graph.name = kind.__name__
    feeds: dict[str, np.ndarray] = {}
    wanted: dict[str, np.ndarray] = {}
    for number, case in enumerate(cases(kind)):
        model, given = case.model()
        names = [value.name for value in model.graph.output]
        results = run(model, {name: np.asarray(array) for name, array in given.items()})
        composed(model)
        prefix = f"{case.op}{number}_"
        wanted |= {f"{prefix}{name}": array for name, array in zip(names, results, strict=True)}
        model = onnx.compose.add_prefix(model, prefix)
        feeds |= {f"{prefix}{name}": np.asarray(array) for name, array in given.items()}
        for value in model.graph.input:
            sizes = feeds[value.name].shape
            kind_of = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind_of, list(sizes)))
        for field in ("node", "input", "output", "initializer"):
            getattr(whole.graph, field).extend(getattr(model.graph, field))
        version = max(one.version for one in model.opset_import if one.domain == "")
        whole.opset_import.extend([onnx.helper.make_opsetid("", version)] if not number else [])
        assert whole.opset_import[0].version == version
    return whole, feeds, wanted


def built(folder: Path, kind: Any) -> tuple[Path, Arrays, Arrays]:
    model, feeds, wanted = together(kind)
    onnx.save(model, folder / "composed.onnx")
    build(BuildRequest(folder / "composed.onnx", folder / "composed.engine", backend="rtx"), ignore)
    return folder / "composed.engine", feeds, wanted


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_engines_as_the_kernels(kind: Any, tmp_path: Path) -> None:
    path, feeds, wanted = built(tmp_path, kind)
    with Engine(path, backend="rtx") as engine:
        got = engine(feeds)
    got = got if isinstance(got, dict) else {next(iter(wanted)): got}
    worst = {}
    for name, reference in wanted.items():
        assert got[name].shape == reference.shape, name
        assert got[name].dtype == reference.dtype, name
        scale = max(1.0, float(np.abs(reference.astype(np.float64)).max(initial=0)))
        worst[name] = float(np.abs(got[name].astype(np.float64) - reference).max(initial=0)) / scale
    print(f"\n{kind.__name__}: {len(worst)} outputs, largest difference {max(worst.values()):.1e}")
    assert {name: value for name, value in worst.items() if not value <= CLOSE} == {}
