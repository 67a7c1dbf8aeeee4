"""The network API rows of the source zoo: scripts of five generations in network_scripts, with weights of PyTorch.

The reference is the same network in PyTorch, in this interpreter or in the one that TORCH= names. Each script gets its
weights in another way: a function of it, a text file that it opens, files that it names and that lie elsewhere.

Every method of the API is called by the scripts of tests/sources/network/cases.py, which are joined here: the reference
is NumPy.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from source_zoo_models import ROOT, Made, Missing, Model, Tools, write_observed

from trtconv.core.events import ignore
from trtconv.core.records import SourceSpec
from trtconv.sources.network.convert import recorded

sys.path.insert(0, str(ROOT))

from tests.sources.network.cases import CASES, EXPLICIT, HEAD, TAIL, Case

HERE = Path(__file__).resolve().parent
GB = 10**9


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


def methods(cases: Sequence[Case], folder: Path, tools: Tools) -> Made:
    """One script that does what many do, each in a function of its own, with inputs of its own."""
    implicit = cases[0].implicit
    lines = [HEAD.format(flags=0 if implicit else EXPLICIT), *(["builder.max_batch_size = 4"] if implicit else [])]
    lines += [
        "def out(tensor, name=None):\n    tensor.name = f'out{network.num_outputs}'\n    network.mark_output(tensor)"
    ]
    inputs, outputs = dict[str, np.ndarray](), list[np.ndarray]()
    for place, case in enumerate(cases):
        feeds = case.feeds()
        lines.append(f"def case{place}({', '.join(feeds)}):\n{textwrap.indent(case.body.strip(), '    ')}")
        lines.append(f"case{place}({', '.join(_inputs(place, feeds, implicit))})")
        inputs |= {f"case{place}_{name}": array for name, array in feeds.items()}
        with np.errstate(all="ignore"):
            wanted = case.expected(*feeds.values())
        outputs += [np.asarray(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
    script = folder / "methods.py"
    script.write_text("\n".join([*lines, TAIL]))
    observed = write_observed(folder / "observed.npz", inputs, {f"out{n}": one for n, one in enumerate(outputs)})
    arguments = [str(script), "--allow-code"]
    made = Made(arguments, _layers(script, arguments), [observed])
    return replace(made, precisions={"fp32": "typed"}) if cases == [CASES[QUANTIZED]] else made


def _inputs(place: int, feeds: dict[str, np.ndarray], implicit: bool) -> Iterable[str]:
    for name, array in feeds.items():
        yield f"network.add_input('case{place}_{name}', trt.{array.dtype.name}, {array.shape[implicit:]})"


def _chosen(wanted: Callable[[str, Case], bool]) -> Callable[[Path, Tools], Made]:
    return partial(methods, [case for name, case in CASES.items() if wanted(name, case)])


QUANTIZED = "quantize and dequantize"
COUNTING = ("non zero", "nms", "nms, all thresholds left out")
"""Methods whose results are as long as there is something to find, which TensorRT-RTX has no kernels for."""

MODELS = {
    "network-lenet": Model(network("lenet", "lenet.pth", elsewhere=True, shapes="data=1x2x4")),
    "network-mlp": Model(network("mlp", shapes="data=1x2x4")),
    "network-resnet50": Model(network("resnet50", "resnet50.npz", shapes="data=1x2x4"), 1e-4, memory=GB),
    "network-mobilenetv2": Model(
        network("mobilenetv2", options=("--argument=-s",), needs="safetensors", shapes="data=1x2x4")
    ),
    "network-encoder": Model(network("encoder", shapes="tokens=1,8x8,32x16,64")),
    "network-methods": Model(_chosen(lambda name, case: not case.implicit and name not in (*COUNTING, QUANTIZED))),
    "network-methods-quantized": Model(_chosen(lambda name, _: name == QUANTIZED)),
    "network-methods-implicit": Model(_chosen(lambda _, case: case.implicit)),
    "network-methods-counting": Model(_chosen(lambda name, _: name in COUNTING), unsupported="NonZero"),
}
