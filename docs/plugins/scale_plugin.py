"""The operator my.domain::Scale as a plugin in Python: y = factor x, float32, any shape.

``creator`` is told which TensorRT it is for, so that one file serves TensorRT and TensorRT-RTX.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def creator(trt: Any) -> Any:  # noqa: C901 - a plugin has that many methods
    """What makes the plugin.

    Args:
        trt: the module ``tensorrt`` or ``tensorrt_rtx``.
    """
    parts = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)

    class Scale(*parts):  # type: ignore[misc]
        """The plugin."""

        def __init__(self, factor: float) -> None:
            for part in parts:
                part.__init__(self)
            self.factor = factor
            self.plugin_name, self.plugin_version, self.plugin_namespace = "Scale", "1", ""
            self.num_outputs = 1

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def get_output_data_types(self, inputs: Any) -> Any:
            return [inputs[0]]

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, expressions: Any) -> Any:
            return [trt.DimsExprs(inputs[0])]

        def supports_format_combination(self, position: int, tensors: Any, count: int) -> bool:
            tensor = tensors[position].desc
            return bool(tensor.type == trt.float32 and tensor.format == trt.TensorFormat.LINEAR)

        def configure_plugin(self, inputs: Any, outputs: Any) -> None: ...

        def on_shape_change(self, inputs: Any, outputs: Any) -> None: ...

        def get_fields_to_serialize(self) -> Any:
            factor = np.array([self.factor], np.float32)
            return trt.PluginFieldCollection([trt.PluginField("factor", factor, trt.PluginFieldType.FLOAT32)])

        def clone(self) -> Any:
            return Scale(self.factor)

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def set_tactic(self, tactic: int) -> None: ...

        def enqueue(self, inputs: Any, outputs: Any, x: Any, y: Any, workspace: int, stream: int) -> None:
            import cupy

            count = int(np.prod([int(size) for size in inputs[0].dims]))

            def array(address: int) -> Any:
                memory = cupy.cuda.UnownedMemory(address, 4 * count, self)
                return cupy.ndarray(count, cupy.float32, cupy.cuda.MemoryPointer(memory, 0))

            with cupy.cuda.ExternalStream(stream):
                cupy.multiply(array(x[0]), cupy.float32(self.factor), out=array(y[0]))

    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        """What the registry holds."""

        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_version, self.plugin_namespace = "Scale", "1", ""
            field = trt.PluginField("factor", np.array([]), trt.PluginFieldType.FLOAT32)
            self.field_names = trt.PluginFieldCollection([field])

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            given = {field.name: field.data for field in fields}
            return Scale(float(given["factor"][0]) if "factor" in given else 1.0)

    return Creator()
