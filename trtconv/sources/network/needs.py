"""What the interpreter of a script must have."""

from __future__ import annotations

from trtconv.core.interpreter import Needs

NEEDS = Needs("TensorRT's network API", {"numpy": "numpy", "onnx": "onnx>=1.19"}, python=(3, 11))
"""For a script whose weights PyTorch does not have to read; what it imports itself it says when it runs."""
