#!/usr/bin/env python3
"""The networks of scripts/network_scripts in PyTorch: seeded weights in the files that the scripts read, and outputs.

python network_references.py NAME FOLDER
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn


class LeNet(nn.Module):
    """Two convolutions, two fully connected layers, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc1, self.fc2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities of the ten digits."""
        x = nn.functional.max_pool2d(self.conv1(x), 2)
        x = nn.functional.max_pool2d(self.conv2(x), 2).flatten(1)
        return self.fc2(self.fc1(x).relu()).softmax(1)[..., None, None]


class Mlp(nn.Module):
    """Three fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 128), nn.Linear(128, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten numbers."""
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).tanh()).tanh())[..., None, None]


class Bottleneck(nn.Module):
    """A block of ResNet-50."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * 4
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the block adds to its input."""
        past = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(x)) + past).relu()


class ResNet50(nn.Module):
    """Under torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for stage, blocks in enumerate((3, 4, 6, 3), 1):
            width = 32 << stage
            made = []
            for block in range(blocks):
                made.append(Bottleneck(inputs, width, 2 if stage > 1 and block == 0 else 1))
                inputs = width * 4
            setattr(self, f"layer{stage}", nn.Sequential(*made))
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A thousand scores."""
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))[..., None, None]


def conv_bn(inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalization, ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """A block of MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        wide = [conv_bn(inputs, hidden)] if expand != 1 else []
        narrow = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*wide, conv_bn(hidden, hidden, 3, stride, hidden), *narrow)
        self.past = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block, and its input where the size stays."""
        return x + self.conv(x) if self.past else self.conv(x)


class MobileNetV2(nn.Module):
    """Under torchvision's names."""

    BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
        inputs = 32
        for expand, outputs, count, stride in self.BLOCKS:
            for index in range(count):
                layers.append(InvertedResidual(inputs, outputs, stride if index == 0 else 1, expand))
                inputs = outputs
        self.features = nn.Sequential(*layers, conv_bn(320, 1280))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A thousand scores."""
        return self.classifier(self.features(x).mean((2, 3)))[..., None, None]


class Encoder(nn.Module):
    """Embedding, two layers of a transformer encoder, their mean, ten scores."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of a sequence."""
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


NETWORKS = {
    "lenet": (LeNet, "data", (3, 1, 28, 28), "prob"),
    "mlp": (Mlp, "data", (5, 64, 1, 1), "out"),
    "resnet50": (ResNet50, "data", (2, 3, 224, 224), "prob"),
    "mobilenetv2": (MobileNetV2, "data", (2, 3, 224, 224), "prob"),
    "encoder": (Encoder, "tokens", (3, 12), "scores"),
}


def main() -> None:
    """Write the weights as the script reads them, and what PyTorch computes."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    make, given, shape, made = NETWORKS[name]
    torch.manual_seed(5)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as it comes, it computes nothing
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    x = torch.randint(0, 100, shape, dtype=torch.int32) if name == "encoder" else torch.randn(shape)
    with torch.no_grad():
        y = model(x)
    np.savez(folder / "observed.npz", **{f"in.{given}": x.numpy(), f"out.{made}": y.numpy()})
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    _write(name, folder, state)


def _write(name: str, folder: Path, state: dict[str, torch.Tensor]) -> None:
    arrays = {key.replace("in_proj_", "in_proj."): np.ascontiguousarray(value.numpy()) for key, value in state.items()}
    if name == "lenet":
        torch.save(state, folder / "lenet.pth")
    elif name == "mlp":
        rows = [
            f"{key} {a.size} {' '.join(struct.pack('>f', v).hex() for v in a.ravel())}" for key, a in arrays.items()
        ]
        (folder / "mlp.wts").write_text("\n".join([str(len(rows)), *rows]) + "\n")
    elif name == "mobilenetv2":
        _safetensors(folder / "mobilenetv2.safetensors", arrays)
    else:
        np.savez(folder / f"{name}.npz", **arrays)


def _safetensors(file: Path, arrays: dict[str, np.ndarray]) -> None:
    entries, start = {}, 0
    for key, array in arrays.items():
        place = [start, start + array.nbytes]
        entries[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": place}
        start += array.nbytes
    header = json.dumps(entries).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        for array in arrays.values():
            out.write(array.tobytes())


if __name__ == "__main__":
    main()
