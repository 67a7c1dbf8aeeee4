"""What can be told from a graph's nodes alone."""

from __future__ import annotations

import pytest

from trtconv.core.errors import SourceError
from trtconv.sources.tensorflow import framework, graph_reader
from trtconv.sources.tensorflow.graph_reader import Node

MODEL = [
    Node("x", "Placeholder", (), "float", (-1, 4)),
    Node("keep_prob", "PlaceholderWithDefault", (), "float"),
    Node("scaled", "Mul", ("x", "keep_prob"), "float"),
    Node("out", "Relu", ("scaled",), "float"),
]
SAVER = [
    Node("save/filename", "PlaceholderWithDefault", (), "string"),
    Node("save/Const", "PlaceholderWithDefault", ("save/filename",), "string"),
    Node("save/SaveV2", "SaveV2", ("save/Const", "out")),
    Node("save/control_dependency", "Identity", ("save/Const", "^save/SaveV2"), "string"),
]


def test_what_writes_checkpoints_is_no_output() -> None:
    """Every graph that tf.train.Saver wrote ends with these nodes, and its model is what comes before."""
    assert [node.name for node in graph_reader.sinks(MODEL)] == ["out"]
    assert [node.name for node in graph_reader.sinks([*MODEL[:3], *SAVER[:2], SAVER[3], MODEL[3]])] == ["out"]


def test_a_saved_model_without_signatures_says_how_to_get_one(tmp_path) -> None:
    with pytest.raises(SourceError, match="it has no signature") as caught:
        framework._signature(tmp_path, "", ["__saved_model_init_op"])
    assert "signatures=" in caught.value.hint
