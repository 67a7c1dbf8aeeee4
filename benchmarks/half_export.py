#!/usr/bin/env python3
"""FP16 by trtconv against FP16 by PyTorch's own exporter: the same ResNet-50, library, GPU and run, batch 128.

PyTorch writes the network twice: in FP32, which ``lower`` then makes FP16, and with ``.half()``. Both are built by the
same TensorRT and measured in turns. Needs a GPU, TensorRT-RTX, cuda-bindings and torch. Run from the repository's root:
``python benchmarks/half_export.py [--batch N] [--export FOLDER]``; ``--export`` only writes the models, on any machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

LEAST = 0.97
ROUNDS = 3
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner width, blocks and stride: He et al. 2015, table 1, with the stride on the 3x3 convolution."""


def resnet50() -> Any:
    """The network in PyTorch, seeded, for inference."""
    import torch
    from torch import nn

    def convolve(ins: int, outs: int, kernel: int, stride: int = 1) -> list[Any]:
        conv = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        return [conv, nn.BatchNorm2d(outs)]

    class Bottleneck(nn.Module):  # type: ignore[misc]
        def __init__(self, ins: int, width: int, stride: int) -> None:
            super().__init__()
            outs = 4 * width
            self.main = nn.Sequential(
                *convolve(ins, width, 1),
                nn.ReLU(),
                *convolve(width, width, 3, stride),
                nn.ReLU(),
                *convolve(width, outs, 1),
            )
            nn.init.constant_(self.main[-1].weight, 0.2)  # sums of branches stay within FP16
            self.skip = nn.Sequential(*convolve(ins, outs, 1, stride)) if stride > 1 or ins != outs else nn.Identity()

        def forward(self, x: Any) -> Any:
            return torch.relu(self.main(x) + self.skip(x))

    torch.manual_seed(0)
    parts, ins = [*convolve(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for width, blocks, stride in STAGES:
        for block in range(blocks):
            parts.append(Bottleneck(ins, width, stride if not block else 1))
            ins = 4 * width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(ins, 1000)).eval()


def export(folder: Path, batch: int) -> None:
    """``fp32.onnx`` and ``half.onnx`` of the same weights, by PyTorch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, x = resnet50().to(device), torch.randn(batch, 3, 224, 224, device=device)
    names = {"input_names": ["x"], "output_names": ["y"], "opset_version": 17, "dynamo": False}
    torch.onnx.export(network, (x,), str(folder / "fp32.onnx"), **names)
    torch.onnx.export(network.half(), (x.half(),), str(folder / "half.onnx"), **names)


def main() -> None:
    """Export, lower, build, measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--export", type=Path, help="only write fp32.onnx and half.onnx there")
    options = parser.parse_args()
    if options.export:
        export(options.export, options.batch)
        return
    with tempfile.TemporaryDirectory() as name:
        sys.exit(not compare(Path(name), options.batch))


def compare(folder: Path, batch: int) -> bool:
    """Whether both forms that trtconv makes reach LEAST of PyTorch's."""
    from trtconv.core.events import ignore
    from trtconv.stages.build import BuildRequest, build
    from trtconv.stages.lower import LowerRequest, lower

    export(folder, batch)
    models = {"PyTorch's half": folder / "half.onnx"}
    for io_types in ("keep", "convert"):
        models[f"trtconv fp16, io_types {io_types}"] = typed = folder / f"{io_types}.onnx"
        lower(LowerRequest(folder / "fp32.onnx", typed, "fp16", io_types=io_types), ignore)
    for model in models.values():
        build(BuildRequest(model, model.with_suffix(".engine"), "fp16"), ignore)
    rates: dict[str, list[float]] = {label: [] for label in models}
    for _ in range(ROUNDS):
        for label, model in models.items():
            rates[label].append(_rate(model.with_suffix(".engine"), batch))
    theirs = median(rates["PyTorch's half"])
    print(f"images/s at batch {batch}, median of {ROUNDS}")
    for label, found in rates.items():
        print(
            f"{label:32} {median(found):10.0f} {median(found) / theirs:7.3f}   {', '.join(f'{r:.0f}' for r in found)}"
        )
    return all(median(found) >= LEAST * theirs for found in rates.values())


def _rate(engine: Path, batch: int) -> float:
    from trtconv.core.events import ignore
    from trtconv.stages.bench import BenchRequest, bench

    request = BenchRequest(engine, backend="rtx", batches=(batch,), semantics="trtexec11", warmup=0.5, duration=2.0)
    return bench(request, ignore).measurements[0].throughput


if __name__ == "__main__":
    main()
