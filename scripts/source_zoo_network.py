"""The network API rows of the source zoo: scripts of five generations in network_scripts, with weights of PyTorch.

The reference is the same network in PyTorch, in this interpreter or in the one that TORCH= names. Each script gets its
weights in another way: a function of it, a text file that it opens, files that it names and that lie elsewhere.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from source_zoo_models import Made, Missing, Model, Tools

from trtconv.core.events import ignore
from trtconv.core.records import SourceSpec
from trtconv.sources.network.convert import recorded

HERE = Path(__file__).resolve().parent
GIB = 1 << 30


def network(
    name: str,
    weights: str = "",
    options: Sequence[str] = (),
    shapes: str = "",
    needs: str = "",
    elsewhere: bool = False,
) -> Callable[[Path, Tools], Made]:
    """How a row is made.

    Args:
        name: of the script and of its reference.
        weights: the file that ``--weights`` names; empty: the script opens it by itself.
        options: more of ``trtconv convert``.
        shapes: as ``trtconv build --shapes`` takes them.
        needs: a package that the script imports besides NumPy.
        elsewhere: whether the script runs in the interpreter that has PyTorch.
    """

    def make(folder: Path, tools: Tools) -> Made:
        python = tools.python("torch", "torch")
        subprocess.run([python, HERE / "network_references.py", name, folder], check=True)
        script = Path(shutil.copy(HERE / "network_scripts" / f"{name}.py", folder))
        arguments = [str(script), "--allow-code", *options]
        if weights:
            arguments += ["--weights", str(folder / weights)]
        if elsewhere or needs:
            _require(python, needs or "onnx")
            arguments += ["--python", python]
        return Made(arguments, _layers(script, arguments), [folder / "observed.npz"], shapes=shapes)

    return make


def _layers(script: Path, arguments: Sequence[str]) -> int:
    """Layers that the script adds: what is recorded, not what its text names."""
    given = dict(itertools.pairwise(arguments))
    passed = [one.removeprefix("--argument=") for one in arguments if one.startswith("--argument=")]
    spec = SourceSpec(
        script,
        "network",
        allow_code=True,
        weights=Path(given["--weights"]) if "--weights" in given else None,
        python=Path(given["--python"]) if "--python" in given else None,
        arguments=tuple(passed),
    )
    return sum(recorded(spec, ignore)[1]["layers"].values())


def _require(python: str, package: str) -> None:
    if subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False).returncode:
        raise Missing(f"{package} is not installed for {python}, which the script needs")


MODELS = {
    "network-lenet": Model(network("lenet", "lenet.pth", elsewhere=True, shapes="data=1x2x4")),
    "network-mlp": Model(network("mlp", shapes="data=1x2x4")),
    "network-resnet50": Model(network("resnet50", "resnet50.npz", shapes="data=1x2x4"), 1e-4, memory=GIB),
    "network-mobilenetv2": Model(
        network("mobilenetv2", options=("--argument=-s",), needs="safetensors", shapes="data=1x2x4")
    ),
    "network-encoder": Model(network("encoder", shapes="tokens=1,8x8,32x16,64")),
}
