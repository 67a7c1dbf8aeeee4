"""Pieces that the backends' tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.engines.fake_tensorrt import H200, Fake, FakeDevice
from trtconv.adapters import alias_library, cuda, cuda_driver, tensorrt
from trtconv.core.events import ignore
from trtconv.engines.build import builder, isolated, messages, plugins
from trtconv.engines.run import inspector

Install = Callable[..., tuple[Fake, FakeDevice]]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a recorded TensorRT and a pretended GPU in place of the real ones."""

    def put(record: str, **options: Any) -> tuple[Fake, FakeDevice]:
        fake, device = Fake(record), FakeDevice(**options)
        monkeypatch.setitem(sys.modules, fake.module, fake)  # type: ignore[arg-type]
        monkeypatch.setattr(tensorrt, "_installed", lambda name: fake.version)
        monkeypatch.setattr(isolated, "build", lambda *known: builder.build(*known[:5]))  # a child has no fake
        monkeypatch.setattr(inspector, "_aside", lambda engine: inspector.tell(engine, ignore))
        monkeypatch.setattr(cuda_driver, "_machine", lambda: cuda_driver._Machine(13000, (H200,), ""))
        monkeypatch.setattr(plugins, "_held", {})
        monkeypatch.setattr(alias_library, "load", lambda alias, needed: None)  # there is no library to answer for
        monkeypatch.setattr(cuda, "open_device", lambda api="auto", index=0: device)
        return fake, device

    tensorrt.load.cache_clear()
    messages.listen.cache_clear()
    yield put
    tensorrt.load.cache_clear()
    messages.listen.cache_clear()


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """ONNX for y = 2 x, x of shape [batch, 4]."""
    two = numpy_helper.from_array(np.float32(2), "two")
    shape = ["batch", 4]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"], name="double")],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [two],
    )
    path = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
