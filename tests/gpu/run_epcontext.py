"""Runs a model with EPContext nodes under ONNX Runtime's provider for TensorRT-RTX.

    python tests/gpu/run_epcontext.py MODEL INPUTS.npz OUTPUTS.npz LIBRARY

LIBRARY is libonnxruntime_providers_nv_tensorrt_rtx.so of the package onnxruntime-ep-nv-tensorrt-rtx-cu13, at the
version made for the installed TensorRT-RTX (0.3.0 for 1.5): both would load libraries of one name. In a process of its
own, since a provider stays registered.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

NAME = "NvTensorRTRTXExecutionProvider"
CUDA = (Path("/usr/local/cuda/lib64"), *Path("/usr/local").glob("cuda-*/lib64"))


def libraries() -> Iterator[Path]:
    """What the provider needs, in the order in which it is to be loaded."""
    spec = importlib.util.find_spec("nvidia")
    places = [
        found for root in (spec.submodule_search_locations or () if spec else ()) for found in Path(root).rglob("lib")
    ]
    yield next(file for folder in (*CUDA, *places) for file in folder.glob("libcudart.so.13*"))
    spec = importlib.util.find_spec("tensorrt_rtx_libs")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or ()
    yield from (Path(folder) / f"lib{name}.so.1" for name in ("tensorrt_rtx", "tensorrt_onnxparser_rtx"))


def main(model: str, inputs: str, outputs: str, library: str) -> None:
    """Run it once."""
    for file in libraries():
        print("loading", file)
        ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
    onnxruntime.register_execution_provider_library(NAME, library)
    every = onnxruntime.get_ep_devices()
    devices = [device for device in every if device.ep_name == NAME]
    if not devices:
        hardware = [(one.ep_name, one.device.type, one.device.vendor_id, dict(one.device.metadata)) for one in every]
        sys.exit(f"the provider takes no device of this machine: {hardware}")
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices(devices[:1], {})
    session = onnxruntime.InferenceSession(model, sess_options=options)
    print("providers", session.get_providers())
    names = [one.name for one in session.get_outputs()]
    with np.load(inputs) as feeds:
        results = session.run(names, dict(feeds))
    np.savez(outputs, **dict(zip(names, results, strict=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
