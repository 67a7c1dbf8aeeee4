"""What TensorRT refuses or dies of although it has all that is needed, said in another way.

The process that builds loads the onnx package only for models that need it: what it holds is memory beside the build's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core import onnx_outline
from trtconv.core.records import ShapeRange

_TROUBLING = frozenset({"Attention", "DequantizeLinear", "LSTM", "GRU", "RNN"})


def decompose(api: Any, network: Any) -> None:
    """Let TensorRT make attention of other layers where it has no kernel for it as a whole.

    Args:
        api: the module ``tensorrt`` or ``tensorrt_rtx``.
        network: as parsed.
    """
    kind = getattr(getattr(api, "LayerType", None), "ATTENTION_INPUT", None)
    if kind is None:
        return
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == kind:
            layer.__class__ = api.IAttentionInputLayer  # the bindings hand out the base class
            layer.attention.decomposable = True


def rewritten(model: Path) -> bytes | None:
    """The model without what TensorRT cannot take, see ``rewriting.rewritten``; None where it has nothing of it."""
    present = onnx_outline.operators(model)
    if not (present or frozenset()) & _TROUBLING:  # one that nobody can read is TensorRT's to refuse
        return None
    from trtconv.engines.build import rewriting

    return rewriting.rewritten(model)


def with_fixed_sizes(model: Path, profiles: Sequence[Mapping[str, ShapeRange]]) -> bytes | None:
    """The model with the sizes that no profile lets vary, see ``rewriting.with_fixed_sizes``; None where none are."""
    from trtconv.engines.build import rewriting

    return rewriting.with_fixed_sizes(model, profiles)
