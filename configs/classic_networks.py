"""The four networks of configs/classic.yaml in PyTorch, each from its paper; weights and images come from a seed.

``python configs/classic_networks.py``, run where PyTorch is, writes what the job needs to build/classic-data: of every
network the weights, images to compare and measure on, and others to calibrate on. Weights that were trained fit as
well, by torchvision's names for the two ResNets.
"""

import sys
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[1] / "build" / "classic-data"
IMAGES = 10


def convolution(inside, outside, kernel, stride=1, padding=0, groups=1):
    """A convolution without bias and what normalizes it."""
    made = nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)
    return made, nn.BatchNorm2d(outside)


class Bottleneck(nn.Module):
    """Three convolutions beside a skip (He et al. 2015, figure 5), with the stride in the 3x3 one."""

    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1, self.bn1 = convolution(inside, width, 1)
        self.conv2, self.bn2 = convolution(width, width, 3, stride, 1)
        self.conv3, self.bn3 = convolution(width, 4 * width, 1)
        self.downsample = None
        if stride > 1 or inside != 4 * width:
            self.downsample = nn.Sequential(*convolution(inside, 4 * width, 1, stride))

    def forward(self, x):
        """[batch, inside, h, w] to [batch, 4 width, h / stride, w / stride]."""
        made = torch.relu(self.bn1(self.conv1(x)))
        made = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(made)))))
        return torch.relu(made + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """He et al. 2015, table 1: so many blocks of each width."""

    def __init__(self, *counts):
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 7, 2, 3)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 << stage, []
            for place in range(count):
                blocks.append(Bottleneck(inside, width, 2 if stage and not place else 1))
                inside = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inside, 1000)

    def forward(self, x):
        """[batch, 3, 224, 224] to [batch, 1000]."""
        made = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        made = self.layer4(self.layer3(self.layer2(self.layer1(made))))
        return self.fc(made.mean((2, 3)))


class MobileNet(nn.Module):
    """Howard et al. 2017, table 1: a convolution for each channel, then one across channels, thirteen times."""

    def __init__(self):
        super().__init__()
        layers, inside = [*convolution(3, 32, 3, 2, 1), nn.ReLU()], 32
        for outside in (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024):
            stride = 2 if outside > inside > 32 else 1
            layers += [*convolution(inside, inside, 3, stride, 1, groups=inside), nn.ReLU()]
            layers += [*convolution(inside, outside, 1), nn.ReLU()]
            inside = outside
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(inside, 1000)

    def forward(self, x):
        """[batch, 3, 224, 224] to [batch, 1000]."""
        return self.fc(self.layers(x).mean((2, 3)))


class Convolutions(nn.Sequential):
    """Normalized convolutions in turn: (outside, kernel, padding, stride) each, the last two as far as given."""

    def __init__(self, inside, *rows):
        layers = []
        for outside, kernel, *others in rows:
            padding, stride = *others, *(0, 1)[len(others) :]
            layers += [*convolution(inside, outside, kernel, stride, padding), nn.ReLU()]
            inside = outside
        super().__init__(*layers)


class Mixed(nn.Module):
    """Branches side by side; a branch that is a list ends in two halves side by side."""

    def __init__(self, *branches, halves=()):
        super().__init__()
        self.branches, self.halves = nn.ModuleList(branches), nn.ModuleList(halves)

    def forward(self, x):
        """[batch, inside, h, w] to the channels of all branches."""
        made = [branch(x) for branch in self.branches]
        for stem, one, other in self.halves:
            hidden = stem(x)
            made += [one(hidden), other(hidden)]
        return torch.cat(made, 1)


def pooled(inside, outside):
    """The branch that averages first."""
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), *Convolutions(inside, (outside, 1)))


def mixed_35(inside, pool):
    """Szegedy et al. 2015, figure 5: 5x5 as two 3x3, on maps of 35."""
    return Mixed(
        Convolutions(inside, (64, 1)),
        Convolutions(inside, (48, 1), (64, 5, 2)),
        Convolutions(inside, (64, 1), (96, 3, 1), (96, 3, 1)),
        pooled(inside, pool),
    )


def mixed_17(inside, width):
    """Figure 6: 7x7 as 1x7 and 7x1, on maps of 17."""
    wide, high = (1, 7), (7, 1)
    across, down = (0, 3), (3, 0)
    return Mixed(
        Convolutions(inside, (192, 1)),
        Convolutions(inside, (width, 1), (width, wide, across), (192, high, down)),
        Convolutions(
            inside, (width, 1), (width, high, down), (width, wide, across), (width, high, down), (192, wide, across)
        ),
        pooled(inside, 192),
    )


def mixed_8(inside):
    """Figure 7: 3x3 as 1x3 beside 3x1, on maps of 8."""
    wide, high = Convolutions(384, (384, (1, 3), (0, 1))), Convolutions(384, (384, (3, 1), (1, 0)))
    wider, higher = Convolutions(384, (384, (1, 3), (0, 1))), Convolutions(384, (384, (3, 1), (1, 0)))
    one, other = Convolutions(inside, (384, 1)), Convolutions(inside, (448, 1), (384, 3, 1))
    halves = (nn.ModuleList([one, wide, high]), nn.ModuleList([other, wider, higher]))
    return Mixed(Convolutions(inside, (320, 1)), pooled(inside, 192), halves=halves)


class InceptionV3(nn.Module):
    """Szegedy et al. 2015, table 1, without the auxiliary classifier, which only training has."""

    def __init__(self):
        super().__init__()
        stem = Convolutions(3, (32, 3, 0, 2), (32, 3), (64, 3, 1))
        wider = Convolutions(64, (80, 1), (192, 3))
        to_17 = Mixed(
            nn.MaxPool2d(3, 2), Convolutions(288, (384, 3, 0, 2)), Convolutions(288, (64, 1), (96, 3, 1), (96, 3, 0, 2))
        )
        to_8 = Mixed(
            nn.MaxPool2d(3, 2),
            Convolutions(768, (192, 1), (320, 3, 0, 2)),
            Convolutions(768, (192, 1), (192, (1, 7), (0, 3)), (192, (7, 1), (3, 0)), (192, 3, 0, 2)),
        )
        self.layers = nn.Sequential(
            *(stem, nn.MaxPool2d(3, 2), wider, nn.MaxPool2d(3, 2)),
            *(mixed_35(192, 32), mixed_35(256, 64), mixed_35(288, 64), to_17),
            *(mixed_17(768, 128), mixed_17(768, 160), mixed_17(768, 160), mixed_17(768, 192), to_8),
            *(mixed_8(1280), mixed_8(2048)),
        )
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x):
        """[batch, 3, 299, 299] to [batch, 1000]."""
        return self.fc(self.layers(x).mean((2, 3)))


def resnet50():
    """25,557,032 parameters."""
    return ResNet(3, 4, 6, 3)


def resnet101():
    """44,549,160 parameters."""
    return ResNet(3, 4, 23, 3)


def mobilenet():
    """4,231,976 parameters."""
    return MobileNet()


def inception_v3():
    """23,834,568 parameters."""
    return InceptionV3()


SIZES = {"resnet50": 224, "resnet101": 224, "mobilenet": 224, "inception_v3": 299}
"""Network -> height and width of its images."""


def settle(network, images):
    """Weights by He's rule; every normalization gets the statistics of what reaches it, as training leaves them."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.constant_(module.bias, 1.0)  # most of a ReLU's inputs pass: rounding does not grow layer by layer
        elif isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.2)  # skips carry the signal, as in trained networks
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def write(name, size):
    """Weights and images of one network."""
    import numpy as np

    torch.manual_seed(0)
    network = globals()[name]()
    torch.save(settle(network, torch.randn(8, 3, size, size)).state_dict(), FOLDER / f"{name}.pth")
    for kind in ("images", "calibration"):
        np.savez(FOLDER / f"{name}.{kind}.npz", x=torch.randn(IMAGES, 3, size, size).numpy())


def main(names):
    """Write those that are named, or all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or SIZES:
        write(name, SIZES[name])


if __name__ == "__main__":
    main(sys.argv[1:])
