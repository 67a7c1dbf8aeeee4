"""A model of Triton's Python backend that runs a trtconv engine, or a model in parts; exported as ``model.py``.

The server's Python needs trtconv with the extra of the engine's library.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from trtconv import Engine
from trtconv.adapters import cuda_driver


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that fits the GPU of this instance."""
        self._triton = importlib.import_module("triton_python_backend_utils")  # which only a server has
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._batched = int(config["max_batch_size"]) > 0
        self._outputs = [output["name"] for output in config["output"]]
        self._inputs = [one["name"] for one in config["input"]]
        per_sample = [one["name"] for one in config["input"] if one.get("reshape", {}).get("shape") == []]
        said = {name: value["string_value"] for name, value in config["parameters"].items()}
        self._scalars = {*per_sample, *json.loads(said.get("scalars", "[]"))}
        backend = said["backend"]
        self._engine = Engine(
            folder / _file(config, int(args["model_instance_device_id"])), contexts=1, backend=backend
        )
        self._triton.Logger.log_info(f"{config['name']}: {self._engine.runner}")
        if self._engine.fell_back:
            self._triton.Logger.log_warn(f"{config['name']}: {self._engine.fell_back}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests: all together where their samples go into one batch, else one by one."""
        feeds = [self._feed(request) for request in requests]
        shapes = [{name: array.shape[1:] for name, array in feed.items()} for feed in feeds]
        if not self._batched or len(feeds) == 1 or any(shape != shapes[0] for shape in shapes):
            return [self._answer([feed])[0] for feed in feeds]
        return self._answer(feeds)

    def _feed(self, request: Any) -> dict[str, np.ndarray]:
        arrays = {name: self._triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        flat = {name: arrays[name].reshape(arrays[name].shape[:1] if self._batched else ()) for name in self._scalars}
        return {**arrays, **flat}

    def _answer(self, feeds: list[dict[str, np.ndarray]]) -> list[Any]:
        whole = (
            {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]} if len(feeds) > 1 else feeds[0]
        )
        try:
            made = self._engine(whole)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is answered and the server stays
            failed = self._triton.TritonError(str(error))
            return [self._triton.InferenceResponse(error=failed) for _ in feeds]
        named = made if isinstance(made, dict) else {self._outputs[0]: made}
        ends: Any = np.cumsum([len(next(iter(feed.values()))) for feed in feeds[:-1]]) if len(feeds) > 1 else []
        parts = {name: np.split(named[name], ends) if len(feeds) > 1 else [named[name]] for name in self._outputs}
        return [
            self._triton.InferenceResponse(
                [self._triton.Tensor(name, np.ascontiguousarray(parts[name][at])) for name in self._outputs]
            )
            for at in range(len(feeds))
        ]

    def finalize(self) -> None:
        """Free the engine."""
        self._engine.close()


def _file(config: dict[str, Any], device: int) -> str:
    """The engine for the GPU of this instance."""
    chosen = dict(config.get("cc_model_filenames") or {})
    usual = str(config.get("default_model_filename") or "")
    if not chosen:
        return usual
    gpus = {gpu.index: gpu for gpu in cuda_driver.gpus()}
    major, minor = gpus[device].capability
    found = str(chosen.get(f"{major}.{minor}", usual))
    if not found:
        raise RuntimeError(
            f"no engine for compute capability {major}.{minor}; there are some for {', '.join(sorted(chosen))}"
        )
    return found
