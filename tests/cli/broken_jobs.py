"""Jobs that are wrong in one or two ways at random, each in a folder with all that it names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.small_jobs import one_op

DATA = {"path": "x.npy"}
QUICK = {"duration": "10ms", "warmup": "0s", "iterations": 1}


def folder_of(path: Path) -> Path:
    path.mkdir(parents=True)
    one_op(path / "model.onnx")
    np.save(path / "x.npy", np.arange(8, dtype=np.float32).reshape(2, 4))
    np.save(path / "wide.npy", np.ones((2, 5), np.float32))
    np.save(path / "nan.npy", np.full((2, 4), np.nan, np.float32))
    np.save(path / "bytes.npy", np.ones((2, 2, 3), np.uint8))
    np.save(path / "labels.npy", np.array([3, 3]))
    np.save(path / "three.npy", np.zeros(3, np.int64))
    (path / "three.txt").write_text("a\nb\nc\n")
    (path / "four.txt").write_text("a\nb\nc\nd\n")
    (path / "gap.txt").write_text("a\n\nc\nd\n")
    (path / "junk").write_text("junk")
    return path


def infer(**keys: Any) -> dict[str, Any]:
    return {"infer": {"data": DATA, **keys}}


def post(*rows: Mapping[str, Any]) -> dict[str, Any]:
    return infer(postprocess=list(rows))


def shapes(**keys: Any) -> dict[str, Any]:
    return {"inputs": {"x": keys}}


def span(*sizes: Any) -> dict[str, Any]:
    return {"profile": dict(zip(("min", "opt", "max"), sizes, strict=True))}


FAULTS: dict[str, dict[str, Any]] = {
    "labels are not as many as classes": post({"argmax": {"labels": "three.txt"}}),
    "labels with a gap": post({"argmax": {"labels": "gap.txt"}}),
    "an output that is not there": post({"softmax": {"output": "z"}}),
    "an axis that is not there": post({"topk": {"k": 1, "axis": 3}}),
    "classes of classes": post({"argmax": {}}, {"softmax": {}}),
    "an unknown row": post({"softmaxx": {}}),
    "a function without leave": post({"call": {"function": "mine:f"}}),
    "an array of several outputs": infer(format="npy", postprocess=[{"topk": {"k": 2}}]),
    "samples of another shape": {"infer": {"data": {"path": "wide.npy"}}},
    "samples that are no numbers": {"verify": {"data": {"path": "nan.npy"}}},
    "rows for pictures on a table": {"infer": {"data": {**DATA, "preprocess": [{"resize": {"size": [2, 2]}}]}}},
    "a row that is none": {"infer": {"data": {**DATA, "preprocess": [{"resise": {}}]}}},
    "labels of other samples": {"verify": {"data": {**DATA, "labels": "three.npy"}}},
    "accuracy without labels": {"verify": {"data": DATA, "max_accuracy_drop": 1}},
    "an axis of samples that is not there": {"infer": {"data": {**DATA, "batch_axis": {"x": 5}}}},
    "samples of no input": {"infer": {"data": {**DATA, "batch_axis": {"z": 1}}}},
    "an unknown input": {"inputs": {"z": span(1, 2, 4)}},
    "another number of dimensions": shapes(shape=["batch", 4, 4]),
    "a profile of other dimensions": shapes(**span([1, 4, 4], [1, 4, 4], [1, 4, 4])),
    "a profile beside a fixed size": shapes(**span([1, 5], [1, 5], [1, 5])),
    "values of a float": shapes(values={"min": [1], "opt": [1], "max": [1]}),
    "channels of a table": shapes(layout="nchw"),
    "a batch beyond the profile": {**shapes(**span(1, 4, 8)), "bench": {**QUICK, "batch": 16}},
    "a batch below the profile": {**shapes(**span(2, 4, 8)), "bench": QUICK},
    "fewer samples than a batch": {"bench": {**QUICK, "batch": 8, "data": DATA}},
    "tuning without a GPU": {"bench": {**QUICK, "tune": True}},
    "an engine without a GPU": infer(backend="rtx"),
    "an engine of TensorRT": {"bench": {**QUICK, "backend": "tensorrt"}},
    "energy without a GPU": {"bench": QUICK, "gates": [{"measure": "energy", "max": "1J"}]},
    "a gate on no engine": {"bench": QUICK, "gates": [{"measure": "throughput", "min": 1, "engine": "int8"}]},
    "a gate on no batch": {"bench": QUICK, "gates": [{"measure": "throughput", "min": 1, "batch": 8}]},
    "a gate on nothing": {"gates": [{"measure": "latency_p99", "max": "1s"}]},
    "a baseline that is none": {"bench": QUICK, "gates": [{"measure": "latency_p99", "baseline": "junk"}]},
    "a cache that is none": {"precision": "int8", "calibrate": {"cache": "junk"}},
    "nothing to calibrate": {"precision": "int8"},
    "an output that no node makes": {"convert": {"outputs": ["z"]}},
    "no such builder": {"build": {"backend": "tensorrt"}},
    "no such GPU": {"build": {"targets": ["sm12"]}},
    "a choice that the builder lacks": {"build": {"backend": "rtx", "optimization_level": 3}},
    "no expression": {"lower": {"keep": {"names": ["("]}}},
    "a name without end": {"name": "a" * 250},
    "nothing left of a matrix": {"matrix": {"precision": ["fp16"], "exclude": [{"precision": "fp16"}]}},
    "another format": {"source": {"path": "model.onnx", "format": "keras"}},
    "a key for others": {"source": {"path": "model.onnx", "constants": {"x": 1.0}}},
}
HARMLESS: dict[str, dict[str, Any]] = {
    "classes": post({"argmax": {"labels": "four.txt"}}),
    "probabilities": post({"softmax": {}}, {"topk": {"k": 2}}),
    "a batch at the edge": {**shapes(**span(1, 4, 8)), "bench": {**QUICK, "batch": 8}},
    "labels": {"verify": {"data": {**DATA, "labels": "labels.npy"}}},
    "half": {"precision": "fp16", "verify": {"data": DATA}},
    "a wider input": shapes(shape=["batch", 4]),
}


def spoil_model(folder: Path) -> None:
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])


def lock(text: str) -> Callable[[Path], None]:
    return lambda folder: void((folder / "job.lock.yaml").write_text(text))


def void(_: object) -> None:
    pass


PLACES: dict[str, Callable[[Path], None]] = {
    "a lock that is none": lock("junk"),
    "a lock of another form": lock("schema: 1\nsteps: 3\n"),
    "a lock with odd steps": lock("schema: 1\nsteps: {convert: {key: 1}}\n"),
    "a folder for a lock": lambda folder: (folder / "job.lock.yaml").mkdir(),
    "a file for a folder": lambda folder: void((folder / "build").write_text("")),
    "a folder for a model": lambda folder: (folder / "build/job/job.onnx").mkdir(parents=True),
    "half a model": spoil_model,
    "no model": lambda folder: (folder / "model.onnx").unlink(),
}


def merged(into: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in other.items():
        into[key] = merged(into[key], value) if isinstance(into.get(key), dict) and isinstance(value, dict) else value
    return into


def write(path: Path, draw: random.Random, faults: int) -> list[str]:
    """A job with so many faults, and what they are."""
    folder_of(path)
    job: dict[str, Any] = {"version": 1, "source": {"path": "model.onnx"}}
    names = draw.sample([*FAULTS, *PLACES], faults) + draw.sample(list(HARMLESS), draw.randrange(2))
    for name in reversed(names):
        job = merged(job, json.loads(json.dumps({**FAULTS, **HARMLESS}.get(name, {}))))
    (path / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    for name in names:
        if name in PLACES:
            PLACES[name](path)
    return names
