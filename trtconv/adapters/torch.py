"""The door to PyTorch: a user's model as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trtconv.core.errors import EnvironmentProblem, MissingPackage, UsageError
from trtconv.core.lazy import resolve

Arrays = dict[str, np.ndarray]


def version() -> str:
    """Of PyTorch."""
    return str(_torch().__version__)


def function(target: str, inputs: Sequence[str]) -> tuple[Callable[[Mapping[str, np.ndarray]], Arrays], str]:
    """A user's model, host to host.

    Args:
        target: ``module:name`` of something that takes no argument and returns a ``torch.nn.Module``, or any function
            of tensors. A module is run where its parameters are; what has none runs on the GPU where there is one.
        inputs: names of the arrays to hand over, in order.

    Returns:
        The function and the device's name.

    Raises:
        UsageError: it cannot be imported.
        EnvironmentProblem: it fails.
        MissingPackage: PyTorch is not installed.
    """
    torch = _torch()
    try:
        model = resolve(target)()
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"pytorch:{target} cannot be imported: {error}",
            hint="give module:function; PYTHONPATH says where modules are",
        ) from error
    except Exception as error:
        raise EnvironmentProblem(
            f"{target}() raised {type(error).__name__}: {error}", hint="try the function on its own"
        ) from error
    device = _device(torch, model)

    def run(feeds: Mapping[str, np.ndarray]) -> Arrays:
        with torch.inference_mode():
            given = [torch.from_numpy(np.ascontiguousarray(feeds[name])).to(device) for name in inputs]
            answer = model(*given)
        found = answer if isinstance(answer, list | tuple) else [answer]
        return {f"output_{number}": tensor.float().cpu().numpy() for number, tensor in enumerate(found)}

    return run, torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _device(torch: Any, model: Any) -> Any:
    parameter = next(iter(model.parameters()), None) if isinstance(model, torch.nn.Module) else None
    if parameter is not None:
        return parameter.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingPackage("torch", "dev", "comparing with PyTorch") from None
    return torch
