#!/usr/bin/env python3
"""PyTorch networks with weights from a seed, for the source zoo: run where PyTorch is.

    python scripts/torch_networks.py NAME FORM FOLDER    writes NAME as pt2, script or module, and observed.npz

ResNet-50 is that of He et al. 2015 with the stride in the 3x3 convolution, as torchvision has it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


class Bottleneck(nn.Module):
    """Three convolutions beside a skip."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outside, 1, bias=False), nn.BatchNorm2d(outside)
        self.downsample = None
        if stride > 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Any) -> Any:
        """From a batch of inputs to outputs."""
        made = torch.relu(self.bn1(self.conv1(x)))
        made = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(made)))))
        return torch.relu(made + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """25.6 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        layers, inside = [], 64
        for number, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            for place in range(count):
                layers.append(Bottleneck(inside, width, 2 if number and not place else 1))
                inside = 4 * width
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(inside, 1000)

    def forward(self, image: Any) -> Any:
        """From a batch of inputs to outputs."""
        features = self.layers(self.maxpool(torch.relu(self.bn1(self.conv1(image)))))
        return self.fc(features.mean((2, 3)))


class Encoder(nn.Module):
    """Tokens and their mask through six layers of a transformer: 41 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(8000, 512), nn.Embedding(512, 512)
        layer = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(512, 32)

    def forward(self, tokens: Any, padding: Any) -> dict[str, Any]:
        """From a batch of inputs to outputs."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.layers(self.tokens(tokens) + self.places(places), src_key_padding_mask=padding)
        return {"hidden": hidden, "scores": self.head(hidden[:, 0])}


class Nested(nn.Module):
    """Dictionaries and lists, as detectors return them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.heads = nn.ModuleList(nn.Conv2d(32, 4 * scale, 3, scale, 1) for scale in (1, 2, 4))

    def forward(self, image: Any) -> dict[str, Any]:
        """From a batch of inputs to outputs."""
        hidden = nn.functional.silu(self.stem(image))
        maps = [head(hidden) for head in self.heads]
        return {"maps": maps, "summary": {"mean": hidden.mean((2, 3)), "largest": hidden.amax((2, 3))}}


def _seeded(kind: type[nn.Module]) -> nn.Module:
    """Weights by He's rule, normalizations with statistics that are not those of a new network."""
    torch.manual_seed(0)
    made = kind()
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.2, 0.6)
    return made.eval()


def resnet50() -> nn.Module:
    """Classifier of images."""
    return _seeded(ResNet50)


def encoder() -> nn.Module:
    """Transformer."""
    return _seeded(Encoder)


def nested() -> nn.Module:
    """Outputs in dictionaries and lists."""
    return _seeded(Nested)


def bfloat16() -> nn.Module:
    """ResNet-50 with weights of bfloat16."""
    return _seeded(ResNet50).bfloat16()


def images(count: int = 2, size: int = 224) -> tuple[Any, ...]:
    """A batch from a seed."""
    return (torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)),)


def sentences() -> tuple[Any, ...]:
    """Three of 40 tokens, one of them padded."""
    generator = torch.Generator().manual_seed(1)
    padding = torch.zeros(3, 40, dtype=torch.bool)
    padding[1, 30:] = True
    return torch.randint(0, 8000, (3, 40), generator=generator), padding


NETWORKS = {
    "resnet50": (resnet50, images, ("image",)),
    "encoder": (encoder, sentences, ("tokens", "padding")),
    "nested": (nested, images, ("image",)),
    "bfloat16": (bfloat16, images, ("image",)),
}


def exported(network: nn.Module, inputs: tuple[Any, ...], file: Path) -> None:
    """As .pt2, with a batch that varies, and the length of sentences."""
    half = next(network.parameters()).dtype == torch.bfloat16
    given = tuple(one.bfloat16() if half else one for one in inputs)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
    dims = tuple({0: batch} if one.ndim > 2 else {0: batch, 1: length} for one in given)
    torch.export.save(torch.export.export(network, given, dynamic_shapes=dims), file)


def flat(made: Any, name: str = "") -> dict[str, Any]:
    """Tensors by the names that their keys and places give."""
    if isinstance(made, torch.Tensor):
        return {name or "output": made}
    pairs = made.items() if isinstance(made, dict) else enumerate(made)
    found: dict[str, Any] = {}
    for key, part in pairs:
        found |= flat(part, f"{name}_{key}" if name else str(key))
    return found


def main(name: str, form: str, folder: Path) -> None:
    """Write a network in one of its forms: pt2, script or module (its weights)."""
    make, example, names = NETWORKS[name]
    network, inputs = make(), example()
    folder.mkdir(parents=True, exist_ok=True)
    if form == "pt2":
        exported(network, inputs, folder / "net.pt2")
    elif form == "script":
        torch.jit.trace(network, inputs).save(folder / "net.pt")
    else:
        torch.save(network.state_dict(), folder / "net.pth")
    with torch.no_grad():
        made = flat(network.float()(*inputs))  # trtconv takes bfloat16 weights as FP32, and so does this
    arrays = {f"in.{key}": tensor.numpy() for key, tensor in zip(names, inputs, strict=True)}
    np.savez(folder / "observed.npz", **arrays, **{f"out.{key}": tensor.numpy() for key, tensor in made.items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
