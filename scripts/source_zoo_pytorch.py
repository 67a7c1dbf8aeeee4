"""Rows of the source zoo: networks of torch_networks.py as exported programs, as functions, and as TorchScript."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from source_zoo_models import ROOT, Made, Model, Tools

from trtconv import sources
from trtconv.report import models

SCRIPT = ROOT / "scripts" / "torch_networks.py"
IMAGE = ("--input", "image:batch,3,224,224")
SENTENCES = ("--input", "tokens:batch,length:int64", "--input", "padding:batch,length:bool")
FILES = {"pt2": "net.pt2", "script": "net.pt"}


def _made(name: str, form: str, inputs: Sequence[str], shapes: str, folder: Path, tools: Tools) -> Made:
    python = tools.python("torch", "torch")
    done = subprocess.run([python, SCRIPT, name, form, folder / "net"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} is not made: {done.stderr.strip()[-800:]}")
    if form == "module":
        source = [f"{SCRIPT}:{name}", "--weights", str(folder / "net" / "net.pth")]
        path = Path(source[0])
    else:
        path = folder / "net" / FILES[form]
        source = [str(path)]
    count = models.look(path, sources.detect(path)).counts.total()
    arguments = [*source, *(inputs if form != "pt2" else ()), "--python", python, "--allow-code"]
    return Made(arguments, count, [folder / "net" / "observed.npz"], shapes=shapes)


def _row(name: str, form: str, inputs: Sequence[str], shapes: str, bound: float = 1e-5) -> Model:
    return Model(partial(_made, name, form, inputs, shapes), bound=bound)


_IMAGES = "image=1x2x4"
_SENTENCES = "tokens=1,40x2,40x4,64 padding=1,40x2,40x4,64"
MODELS: Mapping[str, Model] = {
    "pytorch-resnet50-pt2": _row("resnet50", "pt2", IMAGE, _IMAGES),
    "pytorch-resnet50-module": _row("resnet50", "module", IMAGE, _IMAGES),
    "pytorch-resnet50-torchscript": _row("resnet50", "script", IMAGE, _IMAGES),
    "pytorch-encoder-pt2": _row("encoder", "pt2", SENTENCES, _SENTENCES),
    "pytorch-encoder-module": _row("encoder", "module", SENTENCES, _SENTENCES),
    "pytorch-nested-module": _row("nested", "module", IMAGE, _IMAGES),
    "pytorch-bfloat16-pt2": _row("bfloat16", "pt2", IMAGE, _IMAGES),
}
