"""What a script builds: tensors and layers, kept as they were said until somebody asks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trtconv.sources.network.arrays import Dims, DimsCHW, plain
from trtconv.sources.network.enums import ENUMS, Member, member
from trtconv.sources.network.kinds import KINDS, SHARED, Kind

if TYPE_CHECKING:
    from trtconv.sources.network.definition import Network

_DIMS = frozenset(
    [
        "kernel_size",
        "window_size",
        "stride",
        "dilation",
        "pre_padding",
        "post_padding",
        "reshape_dims",
        "start",
        "shape",
        "scales",
        "first_transpose",
        "second_transpose",
    ]
)


_WEIGHTS = frozenset(["kernel", "bias", "shift", "scale", "power", "weights"])


class Refused(BaseException):
    """Something that cannot become ONNX; no ``except Exception`` of the script may swallow it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class Finished(BaseException):
    """The script came to where it builds."""


def where() -> str:
    """``net.py:12``, the line of the script that is being run; empty outside one."""
    frame = sys._getframe(1)
    while frame is not None and "trtconv" in frame.f_globals.get("__name__", "").split("."):
        frame = frame.f_back  # type: ignore[assignment]
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" if frame is not None else ""


class Spelled:
    """Attributes of version 3 were read and set by calls: ``layer.set_stride(x)`` is ``layer.stride = x``."""

    def __getattr__(self, name: str) -> Any:
        verb, _, attribute = name.partition("_")
        if verb == "set" and attribute:
            self._must_have(attribute, name)
            return lambda value: setattr(self, attribute, value)
        if verb == "get" and attribute:
            self._must_have(attribute, name)
            return lambda: getattr(self, attribute)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def destroy(self) -> None:
        """Versions before 8 freed by hand."""

    def _must_have(self, attribute: str, name: str) -> None:
        if not hasattr(self, attribute):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Tensor(Spelled):
    """``ITensor``: an input of the network or an output of a layer."""

    def __init__(self, network: Network, name: str, layer: Layer | None = None, index: int = 0) -> None:
        self.network, self.layer, self.index = network, layer, index
        self.name = name
        self.given_shape: Dims | None = None
        self.given_type: Member | None = None
        self.dynamic_range: tuple[float, float] | None = None
        self.location = member("TensorLocation", "DEVICE")
        self.allowed_formats = 1
        self.broadcast_across_batch = False
        self.dimension_names: dict[int, str] = {}

    @property
    def shape(self) -> Dims:
        """Dimensions, without the batch of an implicit-batch network; -1 is dynamic."""
        return Dims(self.given_shape) if self.given_shape is not None else self.network.shape_of(self)

    @shape.setter
    def shape(self, dims: Sequence[int]) -> None:
        if self.layer is not None:
            raise AttributeError("only inputs of a network can be given a shape")
        self.given_shape, self.network.stale = Dims(dims), True

    @property
    def dtype(self) -> Member:
        """``DataType``."""
        return self.given_type if self.given_type is not None else self.network.type_of(self)

    @dtype.setter
    def dtype(self, dtype: Member) -> None:
        self.given_type, self.network.stale = dtype, True

    type = dtype

    @property
    def dimensions(self) -> DimsCHW:
        """The shape as version 3 had it."""
        return DimsCHW(self.shape)

    @property
    def is_network_input(self) -> bool:
        """Whether the script added it as an input."""
        return self.layer is None

    @property
    def is_network_output(self) -> bool:
        """Whether the script marked it."""
        return self in self.network.outputs

    @property
    def is_shape_tensor(self) -> bool:
        """Whether it holds integers that can be a shape."""
        return self.dtype.name in ("INT32", "INT64") and len(self.shape) <= 1

    @property
    def is_execution_tensor(self) -> bool:
        """Whether it is no shape."""
        return not self.is_shape_tensor

    def set_dynamic_range(self, minimum: float, maximum: float) -> bool:
        """Ranges for INT8."""
        self.dynamic_range = (float(minimum), float(maximum))
        return True

    def reset_dynamic_range(self) -> None:
        """Forget the range."""
        self.dynamic_range = None

    def set_dimension_name(self, index: int, name: str) -> None:
        """Name a dynamic dimension."""
        self.dimension_names[index] = name

    def get_dimension_name(self, index: int) -> str:
        """Its name, or nothing."""
        return self.dimension_names.get(index, "")


class Layer(Spelled):
    """``ILayer``: inputs and attributes, which may change until the network is built."""

    kind_name: str
    kind: Kind

    def __init__(self, network: Network, tensors: Sequence[Tensor], values: dict[str, Any], number: int) -> None:
        kind = self.kind
        state = self.__dict__
        state["network"], state["where"], state["inputs"] = network, where(), list(tensors)
        state["values"] = {name: _kept(name, value) for name, value in values.items()}
        state["values"] = kind.defaults(state["values"]) | state["values"]
        state["name"] = f"(Unnamed Layer* {number}) [{kind.label}]"
        state["output_types"] = {}
        state["precision"], state["metadata"], state["num_ranks"] = None, "", 1
        endings = ["_output", *(f"_output ({index})" for index in range(1, kind.outputs))][: kind.outputs]
        state["outputs"] = [Tensor(network, state["name"] + end, self, i) for i, end in enumerate(endings)]
        state["emitted"] = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        key = self.kind.aliases.get(name, name)
        if key in self.values:
            value = self.values[key]
            if key in _WEIGHTS:
                return plain(value)
            return _kept(key, value) if value is not None else self.network.default_of(self, key)
        if name == "type":
            return ENUMS["LayerType"][self.kind.type]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        key = self.kind.aliases.get(name, name)
        if key in self.values:
            self._changed()
            self.values.update(dict.fromkeys(self.kind.undoes.get(key, ())))
            self.values[key] = _kept(key, value)
            if name in ("padding", "padding_nd"):
                self.values["post_padding"] = self.values[key]
        elif name in SHARED:
            self.__dict__[name] = value
        else:
            raise AttributeError(f"{self.kind.interface!r} object has no attribute {name!r}")

    @property
    def num_inputs(self) -> int:
        """How many tensors it reads."""
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        """How many tensors it makes."""
        return len(self.outputs)

    @property
    def precision_is_set(self) -> bool:
        """Whether the script wants a precision of it."""
        return self.precision is not None

    def reset_precision(self) -> None:
        """Forget the precision."""
        self.precision = None

    def get_input(self, index: int) -> Tensor | None:
        """One that it reads; None behind the last."""
        return self.inputs[index] if index < len(self.inputs) else None

    def get_output(self, index: int) -> Tensor | None:
        """One that it makes; None behind the last."""
        return self.outputs[index] if index < len(self.outputs) else None

    def set_input(self, index: int, tensor: Tensor) -> None:
        """Read another tensor, or one more."""
        self.inputs.extend([None] * (index + 1 - len(self.inputs)))
        self.inputs[index] = tensor
        self._changed()

    def set_output_type(self, index: int, dtype: Member) -> None:
        """Type of an output; floating point stays FP32."""
        self.output_types[index] = dtype
        self._changed()

    def output_type_is_set(self, index: int) -> bool:
        """Whether it was."""
        return index in self.output_types

    def get_output_type(self, index: int) -> Member:
        """Type of an output."""
        dtype: Member = self.outputs[index].dtype
        return dtype

    def reset_output_type(self, index: int) -> None:
        """Forget it."""
        self.output_types.pop(index, None)
        self._changed()

    def asked(self) -> None:
        """Somebody has been told of its outputs: what changes from now on, they have to be told."""
        self.__dict__["emitted"] = True

    def _changed(self) -> None:
        self.network.stale |= self.emitted


def _kept(name: str, value: Any) -> Any:
    """Dimensions are copied, as the bindings do; scales of a Resize are no integers."""
    if name == "scales" and value is not None:
        return tuple(float(size) for size in value)
    return Dims(value) if name in _DIMS and hasattr(value, "__iter__") else value


LAYERS: dict[str, type[Layer]] = {
    name: type(kind.interface, (Layer,), {"kind_name": name, "kind": kind}) for name, kind in KINDS.items()
}
"""Class by kind, for ``isinstance(layer, trt.IConvolutionLayer)``."""
