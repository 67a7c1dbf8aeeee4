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
                verdict.runner,
            ]
            for c in verdict.outputs
        ]
        rows += (
            [[verdict.label, "-", "-", "-", "-", "-", "-", "-", f"skipped: {verdict.skipped}"]]
            if verdict.skipped
            else []
        )
    header = ["model", "output", "max abs", "max rel", "cosine", "SNR dB", "top-1", "same class", "ran on"]
    return f"{head}\n{table(header, rows, 'llrrrrrrl')}"
