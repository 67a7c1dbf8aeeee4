"""Attention whose keys are all masked: PyTorch gives zeros, and its exporter NaN."""

from __future__ import annotations

from typing import Any


def translations(torch: Any, opset: int) -> dict[Any, Any]:
    """For ``custom_translation_table`` of torch.onnx.export: PyTorch's own translation, and zeros for such rows.

    The row is told from the mask, so what is not finite elsewhere stays so; nothing comes between the softmax and the
    product after it, which builders of engines look for.
    """
    try:
        import onnxscript
        from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention as original
    except ImportError:  # another version, which has it elsewhere: what it does then shows in the comparison
        return {}
    op = getattr(onnxscript, f"opset{opset}")
    kinds = onnxscript.ir.DataType

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: Any = None,
        enable_gqa: bool = False,
    ) -> Any:
        made = original(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
        if attn_mask is None:
            return made
        last = op.Constant(value_ints=[-1])
        if attn_mask.dtype == kinds.BOOL:
            seen = op.Cast(op.ReduceMax(op.Cast(attn_mask, to=kinds.FLOAT), last), to=kinds.BOOL)
        else:
            seen = op.Not(op.IsInf(op.ReduceMax(attn_mask, last), detect_positive=0))
        return op.Where(seen, made, op.CastLike(op.Constant(value_float=0.0), made))

    return {torch.ops.aten.scaled_dot_product_attention.default: attention}
