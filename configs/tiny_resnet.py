"""A small residual network in PyTorch, for configs/pytorch.yaml.

``python configs/tiny_resnet.py``, run where PyTorch is, writes what the job needs to build/pytorch: weights from a
seed, and samples.
"""

from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[1] / "build" / "pytorch"


class Block(nn.Module):
    """Two convolutions beside a skip."""

    def __init__(self, width, wider, stride):
        super().__init__()
        self.first = nn.Conv2d(width, wider, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(wider)
        self.second = nn.Conv2d(wider, wider, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(wider)
        self.skip = nn.Conv2d(width, wider, 1, stride, bias=False)

    def forward(self, x):
        """[batch, width, h, w] to [batch, wider, h / stride, w / stride]."""
        hidden = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(hidden)) + self.skip(x))


class TinyResNet(nn.Module):
    """A stem, two blocks, a head."""

    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, classes)

    def forward(self, image):
        """[batch, 3, h, w] to a dictionary."""
        features = self.blocks(torch.relu(self.stem(image))).mean((2, 3))
        return {"logits": self.head(features), "features": features}


def network():
    """What source.path names: the network, without its weights."""
    return TinyResNet()


def main():
    """Write weights and samples."""
    import numpy as np

    torch.manual_seed(0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(network().state_dict(), FOLDER / "weights.pth")
    random = np.random.default_rng(0)
    for name, count in (("calibration", 64), ("heldout", 32)):
        np.savez(FOLDER / f"{name}.npz", image=random.normal(size=(count, 3, 32, 32)).astype(np.float32))


if __name__ == "__main__":
    main()
