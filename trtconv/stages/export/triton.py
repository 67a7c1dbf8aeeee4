"""A Triton model repository of engines and typed ONNX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.adapters import triton
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.extras import install_line
from trtconv.core.records import TensorInfo
from trtconv.data import postprocess_rows
from trtconv.engines.plan import header, manifest, sidecar
from trtconv.stages.export import config_check, ensemble, model_config, repository
from trtconv.stages.export.model_config import Interface, Serving
from trtconv.stages.export.records import ExportRequest, ExportResult, Served
from trtconv.stages.export.repository import Content


@dataclass(frozen=True)
class _Folder:
    """A model of the repository in the making."""

    config: model_config.Message
    version: Mapping[str, Content]
    beside: Mapping[str, Content] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        return {*self.version, *self.beside}


def export(request: ExportRequest, emit: Emit) -> ExportResult:
    """Add models to a repository, or bring those that are there up to date.

    Raises:
        SourceError: a file that is none of trtconv's, or damaged.
        UsageError: what cannot be served as it was asked for; nothing was written then.
    """
    notes: list[str] = []
    folders: dict[str, _Folder] = {}
    for served in request.models:
        folders |= _Export(request, served, notes, {n: f.version for n, f in folders.items()}).folders()
    config_check.require(
        {name: made.config for name, made in folders.items()}, {name: made.files for name, made in folders.items()}
    )
    texts = {name: model_config.text(made.config) for name, made in folders.items()}
    if triton.installed():
        for name, text in texts.items():
            triton.read_config(text, f"{name}/{repository.CONFIG}")
    else:
        notes.append(f"configurations were not read back by Triton's own definitions: {install_line('triton')}")
    repository.require_own(request.repository, folders)
    done = []
    for name, made in folders.items():
        model = repository.Model(name, texts[name], made.version, made.beside)
        backend = str(made.config.get("backend", "ensemble"))
        done.append(repository.write(request.repository, model, backend, link=request.link))
    notes = list(dict.fromkeys(notes))
    for note in notes:
        emit(Message(note, "warning"))
    return ExportResult(request.repository, tuple(done), tuple(notes))


@dataclass(frozen=True)
class _Export:
    """One network, and what stands around it."""

    request: ExportRequest
    served: Served
    notes: list[str]
    others: Mapping[str, Mapping[str, Content]]

    @property
    def name(self) -> str:
        return "_".join(filter(None, [self.request.name, self.served.label]))

    @property
    def engine(self) -> Path:
        """One of those for different GPUs; they are alike in all but their target."""
        return next(iter(self.served.engines.values()))

    @property
    def parts(self) -> bool:
        """Whether it is a model in parts."""
        return manifest.is_parts(self.engine)

    def folders(self) -> dict[str, _Folder]:
        interface = _interface(self.engine)
        _same_interface(self.served.engines, interface)
        return {self.name: self.network(interface, self.runtime()), **self.around(interface)}

    def runtime(self) -> str:
        """What serves the files.

        Raises:
            UsageError: what was asked for cannot.
        """
        engine, asked, parts = self.engine, self.request.runtime, self.parts
        flavor = "parts" if parts else header.read(engine).flavor
        if asked == "tensorrt" and flavor != "tensorrt":
            what = "a model in parts" if parts else "an engine of TensorRT-RTX"
            raise UsageError(
                f"{engine.name}: {what}, which Triton's TensorRT backend does not load",
                hint="--runtime python (trtconv in the server's Python), or --runtime onnxruntime (the typed ONNX)",
            )
        if asked == "onnxruntime" and parts:
            raise UsageError(
                f"{engine.name}: its parts are what it is; ONNX Runtime alone would run the whole typed ONNX",
                hint="--runtime python, or export the typed ONNX: build with fallback: none",
            )
        if asked != "auto":
            return asked
        return "tensorrt" if flavor == "tensorrt" else "python"

    def network(self, interface: Interface, runtime: str) -> _Folder:
        files, named = self.files(runtime, interface)
        beside: dict[str, Content] = dict(self.labels(interface))
        warmup = self.warmup(interface)
        beside |= {f"warmup/{number}.raw": data.tobytes() for number, data in enumerate(warmup.values())}
        if runtime == "tensorrt" and not all(info.shape for info in (*interface.inputs, *interface.outputs)):
            self.notes.append("scalars are [1] for the server; whether its TensorRT backend takes them was not tried")
        if runtime == "python":
            self.notes.append(f"the server's Python needs trtconv and the engine's library: {install_line('rtx')}")
        serving = Serving(
            backend=runtime,
            kind="KIND_AUTO" if runtime == "onnxruntime" or self.parts else "KIND_GPU",
            instances=self.served.instances,
            delay=self.request.delay,
            graphs=self.served.graphs and runtime == "tensorrt",
            labels={name: _labels(at) for at, name in enumerate(self.labelled(interface))},
            warmup={name: (f"{at}.raw", data.shape) for at, (name, data) in enumerate(warmup.items())},
            default=named.pop("", ""),
            capabilities=named,
            parameters=self.parameters(interface) if runtime == "python" else {},
        )
        return _Folder(model_config.config(self.name, interface, serving), files, beside)

    def parameters(self, interface: Interface) -> dict[str, str]:
        """For ``python_model``: the backend as ``Engine`` takes it, and inputs that are numbers without any axis.

        Engines never fall back to ONNX Runtime in a server, parts hold their own.
        """
        scalars = [info.name for info in interface.inputs if not info.shape]
        return {
            "backend": "auto" if self.parts else header.read(self.engine).flavor,
            **({"scalars": json.dumps(scalars)} if scalars else {}),
        }

    def files(self, runtime: str, interface: Interface) -> tuple[dict[str, Content], dict[str, str]]:
        """Files of the version; and the name of the engine's by compute capability, ``""`` for any."""
        if runtime == "onnxruntime":
            return _onnx(self.typed()), {"": "model.onnx"}
        files: dict[str, Content] = {}
        named: dict[str, str] = {}
        for target, engine in self.served.engines.items():
            stem = f"model_{target}" if target else "model"
            name = f"{stem}{'.plan' if runtime == 'tensorrt' else engine.suffix}"
            named[_capability(target)] = name
            if manifest.is_parts(engine):
                files |= {f"{name}/{path.relative_to(engine)}": path for path in _under(engine)}
            else:
                files |= {name: engine, f"{name}.json": _facts(engine, name)}
        if runtime == "python":
            _require_exchangeable(interface)
            files["model.py"] = Path(__file__).with_name("python_model.py").read_bytes()
        return files, named

    def typed(self) -> Path:
        """The typed ONNX.

        Raises:
            UsageError: nobody knows where it is.
        """
        engine = self.engine
        known = None if self.parts else sidecar.read(engine)
        found = self.served.typed or (known.model if known is not None else None)
        if found is None or not found.is_file():
            raise UsageError(
                f"{engine.name}: its typed ONNX is not where it was",
                hint="build it again: trtconv build MODEL -o ENGINE",
            )
        return found

    def labelled(self, interface: Interface) -> dict[str, Path]:
        """The file of class names for each output that a row of postprocessing labels; the server knows flat ones.

        Raises:
            UsageError: not one name per class.
        """
        outputs = {info.name: info for info in interface.outputs}
        found: dict[str, Path] = {}
        for row in self.request.postprocess:
            given = next(iter(row.values()))
            if not isinstance(given, dict) or not given.get("labels"):
                continue
            name = given.get("output") or (next(iter(outputs)) if len(outputs) == 1 else "")
            if name in outputs and len(outputs[name].shape) == 2:
                _require_labels(postprocess_rows.parse(row, "postprocess")[1]["labels"], outputs[name])
                found[name] = Path(given["labels"])
        return found

    def labels(self, interface: Interface) -> dict[str, Content]:
        return {_labels(at): path for at, path in enumerate(self.labelled(interface).values())}

    def warmup(self, interface: Interface) -> dict[str, np.ndarray]:
        """One sample per input: what the server runs before it says that it is ready."""
        from trtconv.data.feeds import open_feed

        if self.request.data is None or interface.shape_inputs:
            return {}
        batch = next(open_feed(self.request.data, interface.inputs).batches(1))
        if interface.batch:
            return {info.name: np.ascontiguousarray(batch[info.name][0]) for info in interface.inputs}
        if not all(interface.takes(info, batch[info.name].shape) for info in interface.inputs):
            return {}  # of a model for whole batches, which one sample is not
        return {info.name: np.ascontiguousarray(batch[info.name]) for info in interface.inputs}

    def around(self, interface: Interface) -> dict[str, _Folder]:
        """Models before and after the network, and the ensemble of all; empty where nothing can be said in ONNX."""
        rows = (self.request.preprocess, self.request.postprocess)
        if not self.request.ensemble or not any(rows):
            return {}
        before = ensemble.before(rows[0], interface.inputs, _dtype(self.request))
        after = ensemble.after(rows[1], interface.outputs)
        for what, side in (("before", before), ("after", after)):
            if side.left:
                self.notes.append(f"not in the ensemble, left to the client: {', '.join(side.left)} {what} the network")
        if not (before.model or after.model):
            return {}
        folders: dict[str, _Folder] = {}
        names = {
            suffix: self.shared(f"{self.request.name}_{suffix}", side, interface, folders)
            for suffix, side in (("preprocess", before), ("postprocess", after))
            if side.model
        }
        folders[f"{self.name}_pipeline"] = _Folder(self.pipeline(interface, before, after, names), {})
        return folders

    def shared(self, name: str, side: ensemble.Side, interface: Interface, folders: dict[str, _Folder]) -> str:
        """The name of the model for one side: of another network's, where that is the same; else it is added."""
        wanted, number = name, 1
        while wanted in self.others and self.others[wanted].get("model.onnx") != side.model:
            number += 1
            wanted = f"{name}_{number}"
        serving = Serving(backend="onnxruntime", kind="KIND_CPU", default="model.onnx")
        made = model_config.config(wanted, Interface(side.inputs, side.outputs), serving, interface.batch)
        made = {key: value for key, value in made.items() if key != "dynamic_batching"}
        folders[wanted] = _Folder(made, {"model.onnx": side.model})
        return wanted

    def pipeline(
        self, interface: Interface, before: ensemble.Side, after: ensemble.Side, names: Mapping[str, str]
    ) -> model_config.Message:
        steps = []
        fed = {info.name: info.name for info in interface.inputs}
        if before.model:
            fed = {interface.inputs[0].name: "prepared"}
            steps.append(model_config.step(names["preprocess"], {"sample": "sample"}, {"prepared": "prepared"}))
        raw = {info.name: f"raw_{info.name}" if after.model else info.name for info in interface.outputs}
        steps.append(model_config.step(self.name, fed, raw))
        if after.model:
            taken = {name: name for name in raw.values()}
            given = {info.name: info.name for info in after.outputs}
            steps.append(model_config.step(names["postprocess"], taken, given))
        batch = interface.batch
        taken_in = before.inputs if before.model else interface.inputs
        given_out = after.outputs if after.model else interface.outputs
        ends = (_ends(taken_in, batch), _ends(given_out, batch))
        return model_config.ensemble(f"{self.name}_pipeline", batch, ends, steps)


def _require_labels(labels: Sequence[str], info: TensorInfo) -> None:
    count = info.shape[1]
    if isinstance(count, int) and count >= 0 and count != len(labels):
        raise UsageError(
            f"postprocess: {info.name} has {count} classes, and there are {len(labels)} labels",
            hint="give one label per class, in their order",
        )


def _labels(number: int) -> str:
    """A file of class names; outputs are called as no file may be, ``logits/Softmax:0``."""
    return f"labels.{number}.txt"


def _ends(infos: Iterable[TensorInfo], batch: int) -> list[model_config.Message]:
    """Of an ensemble, whose members do the reshaping."""
    tensors = (model_config.tensor(info, batch) for info in infos)
    return [{key: value for key, value in one.items() if key != "reshape"} for one in tensors]


def _interface(engine: Path) -> Interface:
    """What a model takes and gives, by what lies beside it.

    Raises:
        SourceError: no engine.
        UsageError: nothing lies beside it, or it has no weights.
    """
    if manifest.is_parts(engine):
        found = manifest.read(engine)
        return Interface(found.inputs, found.outputs, found.ranges("profiles"), found.ranges("values"))
    header.read(engine)
    known = sidecar.read(engine)
    if known is None:
        raise UsageError(
            f"{engine}: no sidecar says what it takes and gives", hint=f"copy {sidecar.path_of(engine).name} beside it"
        )
    if known.features.stripped:
        raise UsageError(
            f"{engine}: it holds no weights, and no server can run it",
            hint=f"trtconv refit {engine} MODEL -o whole.engine makes it whole",
        )
    inputs, outputs = manifest.tensors(known.facts["inputs"]), manifest.tensors(known.facts["outputs"])
    return Interface(inputs, outputs, known.profiles, known.values)


def _same_interface(engines: Mapping[str, Path], wanted: Interface) -> None:
    for target, engine in engines.items():
        if _interface(engine) != wanted:
            raise UsageError(
                f"{engine.name} (for {target}) takes or gives other shapes than the engines for other GPUs",
                hint="one model of Triton has one interface; build all targets from one job",
            )


def _capability(target: str) -> str:
    """``8.6`` for ``sm86``."""
    digits = target.removeprefix("sm")
    return f"{digits[:-1]}.{digits[-1]}" if digits else ""


def _facts(engine: Path, name: str) -> bytes:
    """The engine's sidecar under its new name, without what lies elsewhere or differs from build to build."""
    known = sidecar.read(engine)
    assert known is not None
    left_out = ("model", "seconds", "provenance", "warnings")
    facts: dict[str, Any] = {key: value for key, value in known.facts.items() if key not in left_out}
    facts["engine"] = {**facts["engine"], "file": name}
    facts["provenance"] = {"digests": known.facts.get("provenance", {}).get("digests", {})}
    return (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode()


def _onnx(model: Path) -> dict[str, Content]:
    """A model and the files of its large tensors, which it knows by their names."""
    from trtconv.core import external

    return {"model.onnx": model, **{name: model.parent / name for name in external.locations(model)}}


def _under(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _require_exchangeable(interface: Interface) -> None:
    """The Python backend hands tensors over as NumPy arrays, which know no bfloat16."""
    for info in (*interface.inputs, *interface.outputs):
        if info.dtype == "bfloat16":
            raise UsageError(
                f"{info.name!r} is bfloat16, which Triton's Python backend cannot hand over",
                hint="give the model FP32 inputs and outputs: lower.io_types: keep",
            )


def _dtype(request: ExportRequest) -> str:
    """Of the samples as they come: those of images, unless arrays say otherwise."""
    path = None if request.data is None else request.data.path
    if path is None or path.suffix.lower() not in (".npz", ".npy"):
        return "uint8"
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    array = loaded if isinstance(loaded, np.ndarray) else loaded[next(iter(loaded.files))]
    name = str(array.dtype.name)
    return {"float32": "float", "float64": "double"}.get(name, name)
