"""The networks of strict_engine.py: PyTorch's, with seeded weights, and inputs for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Encoder(nn.Module):  # type: ignore[misc]
    """Two blocks of attention with rotary positions and a padding mask of the lowest float."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "before": nn.LayerNorm(width),
                    "split": nn.Linear(width, 3 * width),
                    "joined": nn.Linear(width, width),
                    "behind": nn.LayerNorm(width),
                    "hidden": nn.Linear(width, 2 * width),
                    "out": nn.Linear(2 * width, width),
                }
            )
            for _ in range(2)
        )
        self.register_buffer("frequencies", 1 / 10000 ** (torch.arange(0, self.size, 2) / self.size))

    def forward(self, x: torch.Tensor, mask: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Tokens [batch, steps, width], 1 for those to attend to, and positions [steps]."""
        bias = torch.where(mask[:, None, None, :] > 0, 0.0, torch.finfo(torch.float32).min)
        angle = position[:, None].float() * self.frequencies
        waves = torch.cat([angle, angle], -1)
        for block in self.blocks:
            query, key, value = (self._apart(one) for one in block["split"](block["before"](x)).chunk(3, -1))
            query, key = self._turned(query, waves), self._turned(key, waves)
            share = (query @ key.transpose(-1, -2) * self.size**-0.5 + bias).softmax(-1)
            x = x + block["joined"]((share @ value).transpose(1, 2).flatten(2))
            x = x + block["out"](functional.gelu(block["hidden"](block["behind"](x))))
        return x

    def _apart(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)

    def _turned(self, x: torch.Tensor, waves: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, -1)
        return x * waves.cos() + torch.cat([-second, first], -1) * waves.sin()


class Recurrent(nn.Module):  # type: ignore[misc]
    """Two layers of LSTM, the last step classified."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.LSTM(32, 64, 2, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Steps [batch, steps, 32] to logits [batch, 10]."""
        return self.out(self.layers(x)[0][:, -1])


def _block(before: int, behind: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, behind, 3, stride, 1), nn.GroupNorm(8, behind), nn.SiLU())


class UNet(nn.Module):  # type: ignore[misc]
    """Down twice and up again, with group normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = _block(3, 32), _block(32, 64, 2), _block(64, 128, 2)
        self.up_b, self.d = nn.ConvTranspose2d(128, 64, 2, 2), _block(128, 64)
        self.up_a, self.e, self.out = nn.ConvTranspose2d(64, 32, 2, 2), _block(64, 32), nn.Conv2d(32, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [batch, 3, size, size] to four maps."""
        a = self.a(x)
        b = self.b(a)
        d = self.d(torch.cat([self.up_b(self.c(b)), b], 1))
        return self.out(self.e(torch.cat([self.up_a(d), a], 1)))


class Detector(nn.Module):  # type: ignore[misc]
    """Scores and boxes of anchors."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        self.body, self.scores, self.boxes = (
            nn.Sequential(*layers),
            nn.Conv2d(64, 20, 3, 1, 1),
            nn.Conv2d(64, 4, 3, 1, 1),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images to scores and sizes of boxes."""
        found = self.body(x)
        return self.scores(found).sigmoid(), self.boxes(found).clamp(max=4).exp() * 8


class LogMel(nn.Module):  # type: ignore[misc]
    """An audio front end: power in bands, its logarithm above a floor of 1e-10, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.waves, self.out = nn.Conv1d(1, 514, 512, 160, bias=False), nn.Conv1d(40, 16, 3)
        self.register_buffer("bands", torch.rand(40, 257))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waves [batch, 1, samples] to features [batch, 16, frames]."""
        found = self.waves(x)
        power = found[:, :257] ** 2 + found[:, 257:] ** 2
        return self.out(torch.log((self.bands @ power).clamp(min=1e-10)))


class Points(nn.Module):  # type: ignore[misc]
    """Points seen by a camera: divided by their depth, and by a sum of both signs, 0 where that is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.camera, self.out = nn.Linear(32, 16), nn.Linear(31, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors [batch, 32] to [batch, 8]."""
        found = self.camera(x)
        seen = found[:, 1:] / (found[:, :1] + 1.5)
        total = found.sum(-1, keepdim=True)
        shares = torch.where(total == 0, torch.zeros_like(found), found / total)
        return self.out(torch.cat([seen, shares], -1))


class Moments(nn.Module):  # type: ignore[misc]
    """Layers normalized by the mean of squares less the square of the mean, as JAX writes it, around a mean of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors [batch, 64] to [batch, 16]."""
        found = self.first(x) + 4
        mean = found.mean(-1, keepdim=True)
        variance = (found * found).mean(-1, keepdim=True) - mean * mean
        return self.second((found - mean) * torch.rsqrt(variance + 1e-5))


def _torchvision(name: str) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, name)(weights=None)


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def _encoder_inputs() -> tuple[torch.Tensor, ...]:
    mask = torch.ones(4, 12)
    mask[1:, 8:] = 0
    return torch.randn(4, 12, 64), mask, torch.arange(1000, 1012)


def _image(batch: int, size: int) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: (torch.randn(batch, 3, size, size),)


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, ...]]]] = {
    "resnet50": (lambda: _torchvision("resnet50"), _image(4, 224)),
    "mobilenet_v2": (lambda: _torchvision("mobilenet_v2"), _image(4, 224)),
    "densenet121": (lambda: _torchvision("densenet121"), _image(2, 224)),
    "vit": (lambda: _timm("vit_tiny_patch16_224"), _image(4, 224)),
    "convnext": (lambda: _timm("convnext_atto"), _image(4, 224)),
    "encoder": (Encoder, _encoder_inputs),
    "lstm": (Recurrent, lambda: (torch.randn(4, 20, 32),)),
    "unet": (UNet, _image(2, 64)),
    "detector": (Detector, _image(2, 64)),
    "logmel": (LogMel, lambda: (torch.randn(2, 1, 16000),)),
    "points": (Points, lambda: (torch.randn(16, 32),)),
    "moments": (Moments, lambda: (torch.randn(16, 64),)),
}


def write(name: str, folder: Path) -> None:
    """``NAME.onnx`` by PyTorch's exporter, and ``NAME.npz``."""
    torch.manual_seed(0)
    make, inputs = NETWORKS[name]
    network, feeds = make().eval(), inputs()
    names = [f"x{position}" for position in range(len(feeds))]
    model: Any = folder / f"{name}.onnx"
    torch.onnx.export(network, feeds, str(model), dynamo=True, input_names=names, external_data=False, verbose=False)
    np.savez(folder / f"{name}.npz", **{one: tensor.numpy() for one, tensor in zip(names, feeds, strict=True)})
