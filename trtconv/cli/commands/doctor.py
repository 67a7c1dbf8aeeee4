"""doctor: what this machine has, and the exact line that installs what it lacks."""

from __future__ import annotations

import platform
import sys
from typing import Any

import click

from trtconv import __version__
from trtconv.cli.options import json_option
from trtconv.core import strict_json
from trtconv.core.extras import install_line
from trtconv.report.tables import table

EXTRAS = {
    "tf": (("tensorflow-cpu", "tensorflow"), ("tf2onnx",), ("tf-keras",)),
    "paddle": (("paddle2onnx",),),
    "rtx": (("tensorrt-rtx",),),
    "tensorrt": (("tensorrt",),),
    "cuda": (("cuda-bindings",), ("nvidia-ml-py",)),
    "pycuda": (("pycuda",),),
    "caffe": (("opencv-python-headless", "opencv-python"),),
    "torch": (("torch",), ("onnxscript",), ("safetensors",)),
    "images": (("pillow",),),
    "triton": (("tritonclient",),),
    "ray": (("ray",),),
}
"""Per extra, the distributions it brings; alternatives of one are grouped."""

_GIVES = {
    "tf": "TensorFlow sources",
    "paddle": "Paddle sources before Paddle 3",
    "rtx": "engines without a GPU (TensorRT-RTX)",
    "tensorrt": "TensorRT proper, needs a GPU",
    "cuda": "running engines, power and clocks",
    "pycuda": "running engines through PyCUDA",
    "caffe": "comparing Caffe sources (they convert without)",
    "torch": "PyTorch sources (or name an environment that has it: source.python)",
    "images": "png and jpg feeds",
    "triton": "reading exported Triton configurations back",
    "ray": "fleets: engines built on the nodes of a cluster",
}
_BASE = ("click", "PyYAML", "numpy", "onnx", "ml_dtypes", "onnxruntime", "rich")


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Print versions, GPU and driver, which extras are there, and how to install the others."""
    facts = _facts()
    click.echo(strict_json.dumps(facts, indent=2) if as_json else _text(facts))


def _facts() -> dict[str, Any]:
    from trtconv.core import versions

    extras = {}
    for extra, groups in EXTRAS.items():
        found = [versions.of(group) for group in groups]
        missing = [group[0] for group, have in zip(groups, found, strict=True) if not have]
        have = {name: version for part in found for name, version in part.items()}
        extras[extra] = {
            "gives": _GIVES[extra],
            "installed": have,
            "missing": missing,
            "install": install_line(extra) if missing else "",
        }
    return {
        "schema": 1,
        "trtconv": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": versions.of(_BASE),
        "gpu": _gpu(),
        "tensorrt": _tensorrt(),
        "extras": extras,
    }


def _tensorrt() -> dict[str, dict[str, Any]]:
    """Per flavour what is here, what trtconv was tested with, and what to know of the difference."""
    from trtconv.adapters import tensorrt

    told = {}
    for found in tensorrt.probe():
        flavor, version = found.flavor, found.version
        sides = [tensorrt.untested(flavor, version, running=running) for running in (False, True)]
        warnings = [found.problem] if version and found.problem else [text for text in sides if text]
        told[flavor.title] = {"installed": version, "tested": tensorrt.tested(flavor), "warnings": warnings}
    return told


def _gpu() -> dict[str, str]:
    from trtconv.adapters import cuda

    return cuda.probe()


def _text(facts: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    head = f"trtconv {facts['trtconv']}, Python {facts['python']} on {facts['system']}\n{packages}"
    rows = [
        [
            extra,
            row["gives"],
            ", ".join(f"{n} {v}" for n, v in row["installed"].items()) or "-",
            row["install"] or "there",
        ]
        for extra, row in facts["extras"].items()
    ]
    trt = [
        f"{name} {row['installed'] or 'is not installed'}; tested: {row['tested']}"
        + "".join(f"\n  warning: {text}" for text in row["warnings"])
        for name, row in facts["tensorrt"].items()
    ]
    gpu = "\n".join(f"{key}: {value}" for key, value in facts["gpu"].items())
    extras = table(["extra", "gives", "installed", "to install"], rows)
    return "\n\n".join([head, f"GPU\n{gpu}", "\n".join(["TensorRT", *trt]), extras])
