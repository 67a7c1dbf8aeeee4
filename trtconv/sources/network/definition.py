"""The network that a script builds: what ``INetworkDefinition`` offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtconv.sources.network import methods
from trtconv.sources.network.arrays import Dims
from trtconv.sources.network.enums import Member, member
from trtconv.sources.network.recording import LAYERS, Layer, Refused, Spelled, Tensor, where

_BY_INPUT = frozenset(["axis", "axes", "channel_axis", "num_elementwise_dims"])


class Network(Spelled):
    """``INetworkDefinition``, by its methods, and what ``emit`` says about its tensors.

    Args:
        flags: as given to ``create_network``.
        builder: it.
        ask: shape and type of a tensor, or the default of an attribute, from the network so far.
    """

    def __init__(self, flags: int, builder: Any, ask: Callable[[Network], Any]) -> None:
        self.flags, self.builder, self._ask = int(flags), builder, ask
        self.name = "Unnamed Network 0"
        self.stale = False
        self.inputs: list[Tensor] = []
        self.layers: list[Layer] = []
        self.outputs: list[Tensor] = []
        self.error_recorder = None
        self.where = where()

    def __getattr__(self, name: str) -> Any:
        if name in methods.METHODS:
            return lambda *given, **named: self._add(name, given, named)
        if name in methods.REFUSED:
            return lambda *given, **named: self._refuse(name, given)
        if name.startswith("nb_"):
            return getattr(self, f"num_{name[3:]}")
        return super().__getattr__(name)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *error: object) -> None:
        """The API frees it here."""

    def _add(self, name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Layer:
        bound = methods.bind(name, given, named)
        for tensor in bound.tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name}() takes tensors, {type(tensor).__name__} was given; get_output(0) of a layer?")
        kind = LAYERS[methods.METHODS[name].kind]
        self.layers.append(kind(self, bound.tensors, bound.values, len(self.layers)))
        return self.layers[-1]

    def _refuse(self, name: str, given: tuple[Any, ...]) -> None:
        plugin = next((str(one.plugin_type) for one in given if hasattr(one, "plugin_type")), "")
        raise Refused(
            f"{where()}: network.{name} adds {methods.REFUSED[name]}{f' {plugin!r}' if plugin else ''}, "
            "which does not become ONNX operators",
            "end the network before it (mark_output earlier), or write it with layers that are operators",
        )

    def add_input(self, name: str, dtype: Member, shape: Sequence[int]) -> Tensor:
        """A tensor that the engine is given."""
        tensor = Tensor(self, str(name))
        tensor.given_type, tensor.given_shape = dtype, Dims(shape)
        self.inputs.append(tensor)
        return tensor

    def mark_output(self, tensor: Tensor) -> None:
        """A tensor that the engine gives."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"mark_output() takes a tensor, {type(tensor).__name__} was given; get_output(0) of it?")
        if tensor not in self.outputs:
            self.outputs.append(tensor)

    mark_output_for_shapes = mark_output

    def unmark_output(self, tensor: Tensor) -> None:
        """Take a mark back."""
        self.outputs.remove(tensor)

    def remove_tensor(self, tensor: Tensor) -> None:
        """Take a tensor out of the network, which makes it no output."""
        self.outputs = [one for one in self.outputs if one is not tensor]
        self.inputs = [one for one in self.inputs if one is not tensor]

    def set_weights_name(self, weights: Any, name: str) -> bool:
        """Names for refitting, of which ONNX has no need."""
        return True

    def are_weights_marked_refittable(self, name: str) -> bool:
        """There is nothing to refit."""
        return False

    is_debug_tensor = are_weights_marked_refittable
    unmark_output_for_shapes = unmark_output
    mark_unfused_tensors_as_debug_tensors = unmark_unfused_tensors_as_debug_tensors = Spelled.destroy
    mark_weights_refittable = unmark_weights_refittable = mark_debug = unmark_debug = set_weights_name

    num_inputs = property(lambda self: len(self.inputs), doc="How many inputs.")
    num_layers = property(lambda self: len(self.layers), doc="How many layers.")
    num_outputs = property(lambda self: len(self.outputs), doc="How many outputs.")

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __bool__(self) -> bool:
        return True

    def get_input(self, index: int) -> Tensor | None:
        """One of the inputs; None behind the last."""
        return self.inputs[index] if index < len(self.inputs) else None

    def get_layer(self, index: int) -> Layer | None:
        """One of the layers; None behind the last."""
        return self.layers[index] if index < len(self.layers) else None

    def get_output(self, index: int) -> Tensor | None:
        """One of the outputs; None behind the last."""
        return self.outputs[index] if index < len(self.outputs) else None

    def get_flag(self, flag: Member) -> bool:
        """Whether ``create_network`` was given a flag."""
        return bool(self.flags >> int(flag) & 1)

    @property
    def has_implicit_batch_dimension(self) -> bool:
        """Whether shapes leave the batch out."""
        return bool(self._ask(self).implicit)

    @property
    def has_explicit_precision(self) -> bool:
        """A flag of version 6."""
        return self.get_flag(member("NetworkDefinitionCreationFlag", "EXPLICIT_PRECISION"))

    def shape_of(self, tensor: Tensor) -> Dims:
        """Dimensions of what a layer makes."""
        shape: Dims = self._ask(self).shape_of(tensor)
        return shape

    def type_of(self, tensor: Tensor) -> Member:
        """Type of what a layer makes."""
        dtype: Member = self._ask(self).type_of(tensor)
        return dtype

    def default_of(self, layer: Layer, name: str) -> Any:
        """An attribute that the script did not set; of some the default depends on the input."""
        return self._ask(self).default_of(layer, name) if name in _BY_INPUT and layer.inputs else None
