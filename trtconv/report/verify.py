"""The table of a comparison between models."""

from __future__ import annotations

from typing import Any

from trtconv.report.tables import table


def verify_text(result: Any) -> str:
    """One row per candidate and output; skipped candidates say why."""
    top1 = result.reference_top1
    head = f"{result.samples} samples against {result.reference_label}"
    head += "" if top1 is None else f" (top-1 {top1:.2f} %)"
    rows = []
    for verdict in result.verdicts:
        accuracy = "-" if verdict.top1 is None else f"{verdict.top1:.2f} %"
        same = "-" if verdict.agreement is None else f"{verdict.agreement:.2f} %"
        rows += [
            [
                verdict.label,
                c.output,
                f"{c.max_abs:.3g}",
                f"{c.max_rel:.3g}",
                f"{c.cosine:.6f}",
                f"{c.snr_db:.1f}",
                accuracy,
                same,
                verdict.basis,
                verdict.runner,
            ]
            for c in verdict.outputs
        ]
        if verdict.skipped:
            rows.append([verdict.label, *["-"] * 7, verdict.basis, f"skipped: {verdict.skipped}"])
    header = ["model", "output", "max abs", "max rel", "cosine", "SNR dB", "top-1", "same class", "rests on", "ran on"]
    parts = [f"{head}\n{table(header, rows, 'llrrrrrrll')}", bounds_text(result)]
    parts += [corners_text(verdict) for verdict in result.verdicts if verdict.corners]
    parts += [_overflows(verdict) for verdict in result.verdicts if verdict.overflows]
    parts += [layers_text(verdict) for verdict in result.verdicts if verdict.layers]
    return "\n\n".join(parts)


def bounds_text(result: Any) -> str:
    """What was asked of every candidate, and whether it was kept."""
    lines = []
    for verdict in (v for v in result.verdicts if not v.skipped):
        missed = [text for text in result.violations if text.startswith(f"{verdict.label}: ")]
        word = "MISSED" if missed else "within tolerance" if "relative" in verdict.bound else "kept"
        lines.append(f"{verdict.label}: {word} ({verdict.bound})")
        lines += [f"{verdict.label}: output {c.output!r}: {c.note}" for c in verdict.outputs if c.note]
    return "\n".join(lines)


def corners_text(verdict: Any) -> str:
    """One line per shape of the profiles."""
    rows = [
        [
            str(corner.profile),
            corner.place,
            " ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in corner.shapes.items()),
            "-" if corner.worst is None else f"{corner.worst.max_rel:.3g}",
            "-" if corner.worst is None else f"{corner.worst.snr_db:.1f}",
            "MISSED" if corner.fault else f"not compared: {corner.problem}" if corner.problem else "kept",
        ]
        for corner in verdict.corners
    ]
    header = ["profile", "shape", "inputs", "max rel", "SNR dB", "bound"]
    return f"{verdict.label} at the shapes of the profiles:\n{table(header, rows, 'rllrrl')}"


def _overflows(verdict: Any) -> str:
    rows = [[o.tensor, o.op, o.node] for o in verdict.overflows]
    return f"{verdict.label} overflows in half precision, first here:\n{table(['tensor', 'op', 'node'], rows, 'lll')}"


def layers_text(verdict: Any, count: int = 20) -> str:
    """The tensors of a typed model that are furthest from FP32."""
    rows = [
        [
            layer.comparison.output,
            layer.op,
            layer.dtype,
            f"{layer.comparison.snr_db:.1f}" if layer.comparison.finite else "infinite",
            f"{layer.comparison.max_rel:.3g}",
            f"{layer.comparison.max_abs:.3g}",
            layer.node,
        ]
        for layer in verdict.layers[:count]
    ]
    header = ["tensor", "op", "type", "SNR dB", "max rel", "max abs", "node"]
    more = len(verdict.layers) - len(rows)
    tail = f"\nand {more} more, all closer (see --json)" if more else ""
    return f"{verdict.label}, tensors by error:\n{table(header, rows, 'lllrrrl')}{tail}"


def bisect_text(result: Any) -> str:
    """What to keep, and the lines for the job."""
    if not result.section:
        return f"{result.precision} passes its gates as it is: nothing to keep"
    where = "stay in FP32" if result.section == "keep" else "stay out of the quantization"
    return (
        f"{result.precision} misses a gate ({result.before}); it passes when {len(result.nodes)} nodes {where} "
        f"({result.trials} trials). Add to the job:\n\n{result.yaml}"
    )
