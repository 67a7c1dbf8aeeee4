"""How PyTorch's formats are recognised, and what else the line asks of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trtconv.core.names import is_function
from trtconv.sources.format import Format
from trtconv.sources.pytorch import archive

RIVALS = {"pytorch": False, "pytorch-compiled": True}
"""Names in ``bench.against`` of ways to run a source in PyTorch itself -> whether torch.compile makes it."""


def _is_function(path: Path, start: bytes) -> bool:
    return not start and is_function(path)


def code(path: Path) -> list[Path]:
    """Files of a function's module, or of the whole package that it is in, the module's own first; empty: elsewhere.

    Modules are looked for in the folder that the function is named in, and in the current one.
    """
    name = path.name.rpartition(":")[0]
    for folder in (path.parent, Path.cwd()):
        if name.endswith(".py"):
            found = [folder / name]
        else:
            place = folder.joinpath(*name.split("."))
            top = folder / name.split(".")[0]
            found = [
                place.with_suffix(".py"),
                place / "__init__.py",
                *(sorted(top.rglob("*.py")) if top.is_dir() else []),
            ]
        if there := [file for file in found if file.is_file()]:
            return list(dict.fromkeys(there))
    return []


def _row(
    name: str,
    title: str,
    plural: str,
    describe: str,
    recognises: Callable[[Path, bytes], bool] | None = None,
    beside: Callable[[Path], list[Path]] = lambda _: [],
    weights: bool = False,
    advice: tuple[str, ...] = (),
) -> Format:
    return Format(
        name=name,
        title=title,
        plural=plural,
        recognises=recognises or (lambda path, start: archive.kind(path, start) == name),
        beside=beside,
        describe=f"trtconv.sources.pytorch.describe:{describe}",
        opens="trtconv.sources.pytorch.convert:open_model",
        to_onnx="trtconv.sources.pytorch.convert:convert",
        takes=frozenset({"python", "inputs", *(["weights"] if weights else [])}),
        advice=advice,
        packages=("torch", "onnxscript", "onnx-ir", "onnx", "numpy", "safetensors"),
        needs="trtconv.sources.pytorch.needs:NEEDS",
        times="trtconv.sources.pytorch.timed:TimedNetwork",
        rivals=tuple(RIVALS),
    )


_CODE = "It runs code: trtconv run and convert need --allow-code."
_OPEN = "Say the shape of every input, and dtype: int64 for those that take whole numbers."

TORCH_EXPORT = _row(
    "torch_export", "a program exported by PyTorch (.pt2)", "programs exported by PyTorch", "program", advice=(_CODE,)
)
TORCHSCRIPT = _row("torchscript", "a TorchScript archive", "TorchScript archives", "script", advice=(_OPEN,))
TORCH_PICKLE = _row(
    "torch_pickle", "a PyTorch checkpoint", "networks pickled by PyTorch", "checkpoint", advice=(_CODE, _OPEN)
)
TORCH_MODULE = _row(
    "torch_module",
    "a function that makes a PyTorch network",
    "functions that make PyTorch networks",
    "function",
    recognises=_is_function,
    beside=code,
    weights=True,
    advice=(_CODE, _OPEN),
)
ROWS = (TORCH_EXPORT, TORCHSCRIPT, TORCH_PICKLE, TORCH_MODULE)
