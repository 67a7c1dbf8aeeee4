"""The smallest networks of PyTorch, for the conformance test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trtconv.core.records import InputSpec

CODE = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
    def forward(self, x):
        return torch.relu(self.layer(x))
"""


def _net(folder: Path) -> Any:
    import importlib.util

    file = folder / "tiny_net.py"
    file.write_text(CODE)
    spec = importlib.util.spec_from_file_location("tiny_net", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Net().eval()


def torch_export(folder: Path) -> Path:
    import torch

    shapes = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(_net(folder), (torch.randn(2, 4),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "net.pt2")
    return folder / "net.pt2"


def torchscript(folder: Path) -> Path:
    import torch

    torch.jit.trace(_net(folder), torch.randn(2, 4)).save(folder / "net.pt")
    return folder / "net.pt"


def torch_pickle(folder: Path) -> Path:
    import torch

    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 3)), folder / "net.pth")
    return folder / "net.pth"


def torch_module(folder: Path) -> Path:
    (folder / "tiny_nets.py").write_text(CODE)
    return folder / "tiny_nets:Net"


MODELS = {
    "torch_export": torch_export,
    "torchscript": torchscript,
    "torch_pickle": torch_pickle,
    "torch_module": torch_module,
}
_X = (InputSpec("x", ("batch", 4)),)
_INPUT = (InputSpec("input", ("batch", 4)),)
SPEC: dict[str, dict[str, Any]] = {
    "torch_export": {"allow_code": True},
    "torchscript": {"inputs": _X},
    "torch_pickle": {"allow_code": True, "inputs": _INPUT},
    "torch_module": {"allow_code": True, "inputs": _X},
}
