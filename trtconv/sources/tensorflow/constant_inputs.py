"""Signatures some of whose inputs have got a value: ``keep_prob`` and ``is_training`` of TensorFlow 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from trtconv.adapters import tensorflow
from trtconv.core.errors import UsageError
from trtconv.core.names import choice
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.sources.tensorflow import graph_edits, graph_reader, graphdef
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph


class FixedInputs:
    """A model with fewer inputs than the one that it stands for.

    Attributes:
        inputs: those that have no value.
        outputs: all.
    """

    def __init__(self, model: Any, spec: SourceSpec) -> None:
        self._model, self._spec = model, spec
        kinds = {info.name: info.dtype for info in model.inputs}
        for name, _ in spec.constants:
            if name not in kinds:
                raise UsageError(
                    f"source.constants: {spec.path} has no input {name!r}; it has {', '.join(kinds)}",
                    hint=choice(name, kinds),
                )
        self._values = {name: np.array(value, _numpy(kinds[name])) for name, value in spec.constants}
        self.inputs: tuple[TensorInfo, ...] = tuple(i for i in model.inputs if i.name not in self._values)
        self.outputs: tuple[TensorInfo, ...] = model.outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        outputs: dict[str, np.ndarray] = self._model.run({**feeds, **self._values})
        return outputs

    def framework(self) -> str:
        """What runs it."""
        return str(self._model.framework())

    def freeze(self) -> FrozenGraph:
        """The model's graph with constants in the place of these inputs; dropout that they switch off is gone."""
        whole: FrozenGraph = self._model.freeze()
        fixed = [(e.node, value) for e in whole.inputs for name, value in self._spec.constants if e.name == name]
        graph_edits.fix_constants(whole.graph, fixed, self._spec.path)
        graph_edits.drop_idle_dropout(whole.graph)
        inputs = tuple(e for e in whole.inputs if e.name not in self._values)
        return replace(whole, graph=graphdef.prune(whole.graph, inputs, whole.outputs), inputs=inputs)


def _numpy(dtype: str) -> Any:
    return tensorflow.load().as_dtype(graph_reader.dtype_number(dtype)).as_numpy_dtype
