"""Weights from files that hold nothing but data, into the network that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HOLDERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "module")
"""Keys under which checkpoints keep their weights."""

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers (DataParallel, torch.compile, trainers) put before every name."""


def load(torch: Any, module: Any, path: str, host: Any) -> None:
    """Fill a module from a file of nothing but data.

    Args:
        torch: the framework.
        module: whose parameters and buffers get values.
        path: a .safetensors file, or a state_dict by torch.save, alone or in a checkpoint.
        host: for refusals: a file of another kind, with code in it, or of another network.
    """
    given = _prefixed(_tensors(torch, path, host), set(module.state_dict()))
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    problems = [f"{name} {list(own[name])} is missing" for name in own if name not in found]
    problems += [f"{name} {list(found[name])} is not in the network" for name in found if name not in own]
    problems += [
        f"{name} is {list(found[name])}, the network has {list(own[name])}"
        for name in own
        if name in found and found[name] != own[name]
    ]
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:12])
        more = f"\n  and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise host.refusal(
            "SourceError",
            f"{path}: weights of another network ({len(found)} tensors, the network has {len(own)}):\n{shown}{more}",
            "give the weights that were saved from this network, or the network that they belong to",
        )
    module.load_state_dict(given)


def _tensors(torch: Any, path: str, host: Any) -> dict[str, Any]:
    with Path(path).open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        loaded: Any = host.load("safetensors.torch").load_file(path)
        return dict(loaded)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise host.refusal(
            "SourceError",
            f"{path}: not a file of weights alone: {_reason(error)}",
            "save them again: torch.save(model.state_dict(), FILE), or safetensors.torch.save_file",
        ) from error
    for key in _HOLDERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    tensors = {}
    if isinstance(loaded, Mapping):
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise host.refusal(
            "SourceError", f"{path}: holds no weights, but a {type(loaded).__name__}", "give a state_dict"
        )
    return tensors


def _reason(error: Exception) -> str:
    """Why PyTorch takes a file for more than data, without its advice to load it all the same."""
    code = re.search(r"GLOBAL ([\w.]+)", str(error))
    if code:
        return f"it names {code[1]}, which is code"
    return "it is TorchScript" if "TorchScript" in str(error) else "it is damaged, or of another kind"


def _prefixed(tensors: dict[str, Any], own: set[str]) -> dict[str, Any]:
    """Names without what wrappers put before all of them, where the network has them so."""
    for prefix in _PREFIXES:
        bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        if not own & set(tensors) and own & set(bare):
            return bare
    return tensors
