"""Operators of ONNX Runtime's own domain, written with ONNX's operators: a function per operator, see ``WRITERS``."""

from __future__ import annotations

from collections.abc import Mapping

MICROSOFT = "com.microsoft"
OWN_OPSET = 17
"""What the functions write needs at least this version of the standard operators."""

SAME = ("DequantizeLinear", "GridSample", "Pad", "QuantizeLinear", "Range", "Trilu")
"""Operators that mean in ONNX Runtime's domain what ONNX's of that name do, where ONNX's take such types."""

WRITERS: Mapping[tuple[str, str], str] = {
    (MICROSOFT, "Gelu"): "trtconv.graph.contrib.activations:gelu",
    (MICROSOFT, "BiasGelu"): "trtconv.graph.contrib.activations:bias_gelu",
    (MICROSOFT, "FastGelu"): "trtconv.graph.contrib.activations:fast_gelu",
    (MICROSOFT, "QuickGelu"): "trtconv.graph.contrib.activations:quick_gelu",
    (MICROSOFT, "SkipLayerNormalization"): "trtconv.graph.contrib.normalization:skip_layer_norm",
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): "trtconv.graph.contrib.normalization:skip_rms_norm",
    (MICROSOFT, "SimplifiedLayerNormalization"): "trtconv.graph.contrib.normalization:rms_norm",
    (MICROSOFT, "EmbedLayerNormalization"): "trtconv.graph.contrib.normalization:embed_layer_norm",
    (MICROSOFT, "MatMulNBits"): "trtconv.graph.contrib.packed_weights:matmul_bits",
    (MICROSOFT, "FusedConv"): "trtconv.graph.contrib.fused:fused_conv",
    (MICROSOFT, "FusedGemm"): "trtconv.graph.contrib.fused:fused_gemm",
    (MICROSOFT, "FusedMatMul"): "trtconv.graph.contrib.fused:fused_matmul",
    (MICROSOFT, "RotaryEmbedding"): "trtconv.graph.contrib.rotary:rotary_embedding",
    (MICROSOFT, "GroupQueryAttention"): "trtconv.graph.contrib.grouped_attention:grouped_attention",
    (MICROSOFT, "MultiHeadAttention"): "trtconv.graph.contrib.attention:multi_head",
    (MICROSOFT, "Attention"): "trtconv.graph.contrib.attention:packed",
    **{(MICROSOFT, name): "trtconv.graph.contrib.same:same" for name in SAME},
}
"""(domain, operator) -> function of a ``Site`` that returns the tensors of the node's outputs, in order."""

MISPLACED = frozenset({"SimplifiedLayerNormalization"})
"""Operators that ONNX Runtime keeps in ONNX's own domain, where ONNX has none of that name."""
