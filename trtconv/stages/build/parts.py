"""A model in parts: engines of what TensorRT takes, ONNX for the rest, and a manifest that says how they run as one."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core import digests, files
from trtconv.core.child import ChildCrash
from trtconv.core.errors import BuildError
from trtconv.core.events import Emit, Message
from trtconv.core.records import PluginSpec, ShapeRange, TensorInfo
from trtconv.engines.build import profiles, refusals
from trtconv.engines.plan import manifest, sidecar
from trtconv.engines.run import proof
from trtconv.graph import fold, model_io, partition
from trtconv.graph.partition import Part, Partition, Reason
from trtconv.stages.build import asking, epcontext, plugin_shapes
from trtconv.stages.build.boundaries import Look, Seen, require_runnable
from trtconv.stages.build.one_engine import allowed_plugins, build_engine
from trtconv.stages.build.records import BuildRequest, BuildResult

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded


@dataclass(frozen=True)
class _Made:
    """One part on disk: its files, and what its build said."""

    part: Part
    onnx: Path
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    operators: tuple[proof.Operator, ...]
    built: BuildResult | None = None


def build_parts(request: BuildRequest, emit: Emit) -> BuildResult:
    """Build what TensorRT takes, keep the rest as ONNX, and write both with a manifest; whole or not at all.

    Raises:
        BuildError: ONNX Runtime cannot run what TensorRT refuses.
        UsageError: profiles, values or targets that do not fit the model.
        EnvironmentProblem: TensorRT, or the GPU that it needs, is not there.
    """
    from trtconv.adapters import tensorrt

    started = time.monotonic()
    loaded = tensorrt.choose(request.backend)
    with files.atomic_folder(request.engine) as folder:
        work = _Work(request, loaded, folder, emit)
        made = work.build()
        work.write(made, time.monotonic() - started)
        result = work.result(made)
        if request.epcontext is not None:
            epcontext.write(manifest.read(folder, whole=False), request.epcontext)
    return result


class _Work:
    def __init__(self, request: BuildRequest, loaded: Loaded, folder: Path, emit: Emit) -> None:
        self.request, self.loaded, self.folder, self.emit = request, loaded, folder, emit
        self.model = model_io.load(request.model)
        self.inputs, self.outputs = model_io.interface(self.model)
        self.shapes = profiles.complete(self.inputs, request.profiles)
        profiles.check_values(self.inputs, request.values)
        partition.prepare(self.model)
        asking.require_made(self.model, request)
        self.look = Look(self.model, self.shapes, request.values, request.bounds)
        self.look.require_open()
        plugins = allowed_plugins(request)
        self.answers = asking.asked(self.model, loaded, plugins)
        plugin_shapes.learn(self.look, self.answers.alone, loaded, plugins)
        self.look.learn()
        self.kinds = partition.element_types(self.model)
        self.dims = fold.known_dims(self.model.graph)
        self.refused = {**asking.without_kernel(self.model, loaded, self.kinds), **self.answers.refused}
        self.loose: set[str] = set()
        self.settled = self.look.settled()
        self.cut: Partition
        self.seen: Seen
        self.engines: dict[Path, tuple[str, BuildResult]] = {}

    def build(self) -> list[_Made]:
        """Cut and build; what fails falls to the rest, and the cut begins anew."""
        while True:
            self.cut = partition.partition(
                self.model,
                self.refused,
                minimum=self.request.min_subgraph_size,
                deciding=self.request.values[0] if self.request.values else (),
                measured=self.loose,
                settled=self.settled,
                cuts=self.request.cuts,
                bounded=self.request.bounds,
                alone=self.answers.alone,
            )
            self.seen = self.look.at_corners(self.boundary())
            self.kinds = {**self.seen.kinds, **self.kinds}
            if self.learned():
                continue
            made = [self.make(number, part) for number, part in enumerate(self.cut.parts)]
            if None not in made:
                return [one for one in made if one is not None]

    def boundary(self) -> list[str]:
        names = [name for part in self.cut.parts for name in (*part.inputs, *part.outputs)]
        given = {info.name for info in self.inputs} | set(self.request.bounds)
        return list(dict.fromkeys(name for name in names if name not in given))

    def learned(self) -> bool:
        """Whether the runs showed that a part cannot be an engine."""
        touched = [p for p in self.cut.parts if p.engine and not self.seen.empty().isdisjoint((*p.inputs, *p.outputs))]
        for part in touched:
            self.refuse(part.nodes, Reason("data", "a tensor at its border is empty at a corner of the profiles"))
        engines = {name for part in self.cut.parts if part.engine for name in (*part.inputs, *part.outputs)}
        found = self.seen.loose & engines - self.loose
        self.loose |= found
        return bool(touched or found)

    def refuse(self, nodes: Sequence[str], reason: Reason) -> None:
        self.refused |= {name: reason for name in nodes if name not in self.refused}
        self.emit(Message(f"{len(nodes)} nodes go to ONNX Runtime: {reason.why}", "debug"))

    def make(self, number: int, part: Part) -> _Made | None:
        """The files of a part; None where TensorRT does not build it."""
        model = partition.extract(
            self.model, part, {n: self.shape(n) for n in (*part.inputs, *part.outputs)}, self.kinds
        )
        path = self.folder / f"part{number:02}.onnx"
        model_io.save(model, path)
        inputs, outputs = model_io.interface(model)
        operators = proof.operators(model, self.kinds, {name: self.optimum(name) for name in part.inputs})
        facts = tuple(self.described(info) for info in inputs), tuple(map(_tensor, outputs)), operators
        if not part.engine:
            require_runnable(path)
            return _Made(part, path, *facts)
        built = self.engine(part, path, inputs, self.answers.needed(model))
        return None if built is None else _Made(part, path, *facts, built)

    def engine(
        self, part: Part, path: Path, inputs: Sequence[TensorInfo], plugins: tuple[PluginSpec, ...]
    ) -> BuildResult | None:
        request = replace(
            self.request,
            model=path,
            engine=path.with_suffix(".engine"),
            profiles=self.profiles(inputs),
            values=self.values(path, inputs),
            plugins=plugins,
            timing_cache=self.request.timing_cache
            or self.request.engine.with_name(f"{self.request.engine.name}.timing"),
            fallback="none",
            provenance={},  # that of the whole lies beside the manifest
        )
        key = digests.of_value([digests.of_file(path), repr(request.profiles), repr(request.values)])
        before = self.engines.get(path)
        if before is not None and before[0] == key:  # another part failed since, and this one is as it was
            return before[1]
        try:
            built = build_engine(request, self.emit)
            self.engines[path] = key, built
            return built
        except (BuildError, ChildCrash) as error:
            named = [name for name in part.nodes if re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w/])", error.message)]
            first = next((line.strip() for line in error.message.splitlines()[1:] if line.strip()), error.message)
            if not self.answers.alone.isdisjoint(named or part.nodes):
                raise  # nobody else runs them
            self.refuse(named or part.nodes, Reason("build", f"{self.loaded.title} does not build it: {first}"))
            return None

    def profiles(self, inputs: Sequence[TensorInfo]) -> tuple[dict[str, ShapeRange], ...]:
        """The profiles of a part: one for each of the model's."""
        varying = [info.name for info in inputs if profiles.is_dynamic(info)]
        return tuple({name: self.span(number, name) for name in varying} for number in range(len(self.shapes)))

    def optimum(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor at the optimum of the first profile."""
        static = {info.name: info.shape for info in self.inputs if not profiles.is_dynamic(info)}
        if name in static:
            return tuple(int(dim) for dim in static[name])
        return self.span(0, name).optimum

    def span(self, number: int, name: str) -> ShapeRange:
        given = {**profiles.nth(self.shapes, number), **self.request.bounds}
        return given[name] if name in given else self.seen.profile(number, name)

    def values(self, path: Path, inputs: Sequence[TensorInfo]) -> tuple[Mapping[str, ShapeRange], ...]:
        """Ranges of the values of those inputs that decide shapes."""
        given = self.request.values[0] if self.request.values else {}
        integers = [info for info in inputs if info.dtype in ("int32", "int64") and not profiles.is_dynamic(info)]
        if not integers:
            return ()
        deciding = refusals.shape_inputs(self.loaded, path, allowed_plugins(self.request))
        found: list[dict[str, ShapeRange]] = []
        for number in range(max(len(self.shapes), len(self.request.values), 1)):
            spans = profiles.nth(self.request.values, number)
            ranges = {n: spans[n] if n in given else self.seen.value_range(number, n) for n in deciding}
            found.append({name: span for name, span in ranges.items() if span is not None})
        return tuple(found) if deciding else ()

    def shape(self, name: str) -> list[int | str]:
        """Dimensions of a part's input: names where they vary."""
        declared = self.dims.get(name, ())
        if name in {info.name for info in self.inputs}:
            return [dim if dim is not None else f"{name}_{axis}" for axis, dim in enumerate(declared)]
        if name in self.request.bounds:
            span = self.request.bounds[name]
            pairs = enumerate(zip(span.minimum, span.maximum, strict=True))
            return [low if low == high else f"{name}_{axis}" for axis, (low, high) in pairs]
        sizes = self.seen.shapes[0][name][1]
        known = declared if len(declared) == len(sizes) else (None,) * len(sizes)
        return [self.dim(name, axis, dim) for axis, dim in enumerate(known)]

    def dim(self, name: str, axis: int, dim: int | str | None) -> int | str:
        if dim is not None:
            return dim
        if name in self.cut.open or name in self.seen.loose or self.seen.varies(name, axis):
            return f"{name}_{axis}"
        return self.seen.shapes[0][name][1][axis]

    def described(self, info: TensorInfo) -> dict[str, Any]:
        """A part's input as the manifest has it."""
        spans = self.profiles([info])
        ranges = sidecar.profile_facts(spans)
        return {**_tensor(info), "profiles": [each[info.name] for each in ranges if info.name in each]}

    def share(self, made: Sequence[_Made]) -> dict[str, float | None]:
        """Of the nodes, and of the multiplications of weighted operators, inside engines."""
        nodes = {kind: sum(len(one.part.nodes) for one in made if one.part.engine == kind) for kind in (True, False)}
        engines = [one for one in made if one.part.engine]
        products = sum(each.products for one in made for each in one.operators)
        taken = sum(each.products for one in engines for each in one.operators)
        return {"nodes": nodes[True] / max(sum(nodes.values()), 1), "products": taken / products if products else None}

    def write(self, made: Sequence[_Made], seconds: float) -> None:
        from trtconv import __version__

        self.sweep(made)
        request = self.request
        ops = {node.name: node.op_type for node in self.model.graph.node}
        rest = [name for part in self.cut.parts if not part.engine for name in part.nodes]
        constant = Reason("constant", "a constant that the model gives")
        reasons = {name: self.cut.reasons.get(name, constant) for name in rest}
        facts = {
            "trtconv": __version__,
            "model": {"sha256": digests.of_file(request.model)},
            "flavor": self.loaded.flavor.name,
            "version": self.loaded.version,
            "targets": list(request.targets),
            "precision": request.precision,
            "options": {"fallback": request.fallback, "min_subgraph_size": request.min_subgraph_size},
            "inputs": [_tensor(info) for info in self.inputs],
            "outputs": [self.output(info) for info in self.outputs],
            "profiles": sidecar.profile_facts(self.shapes),
            "values": sidecar.profile_facts(request.values),
            "parts": [_part(one) for one in made],
            "fell_back": [
                {"node": name, "op": ops[name], "by": reason.by, "why": reason.why} for name, reason in reasons.items()
            ],
            "share": self.share(made),
        }
        manifest.write(self.folder, facts)
        manifest.write_provenance(self.folder, request.model, request.provenance)
        self.emit(Message(f"{len(made)} parts in {seconds:.1f} s", "debug"))

    def sweep(self, made: Sequence[_Made]) -> None:
        """Remove what attempts left that ended otherwise."""
        parts = {one.onnx.stem for one in made}
        engines = {one.onnx.stem for one in made if one.built is not None}
        for left in self.folder.iterdir():
            if left.name.split(".")[0] not in (engines if ".engine" in left.suffixes else parts):
                left.unlink()

    def output(self, info: TensorInfo) -> dict[str, Any]:
        """An output of the whole; types that the model does not declare are those that were seen."""
        kind = self.kinds.get(info.name)
        return _tensor(info if kind is None else replace(info, dtype=model_io.dtype_name(kind)))

    def result(self, made: Sequence[_Made]) -> BuildResult:
        engines = [one.built for one in made if one.built is not None]
        target = self.request.engine
        rest = len(made) - len(engines)
        products = self.share(made)["products"]
        told = "" if products is None else f" with {100 * products:.1f} % of the multiplications"
        why = f"engines: {len(engines)}{told}; parts for ONNX Runtime: {rest}"
        said = {text for one in engines for text in one.warnings}
        for text in (text for text in self.answers.doubts if text not in said):
            self.emit(Message(text, "warning"))
        ends = {name for part in self.cut.parts if part.engine for name in part.outputs}
        for name in (name for name in self.request.cuts if name not in ends):
            self.emit(Message(f"build.partition.cuts: {name!r} is no end of an engine, and cuts nothing", "warning"))
        for part in self.cut.parts if rest else ():
            if not part.engine:
                self.emit(Message(f"ONNX Runtime runs {self.told(part)}", "warning"))
        return BuildResult(
            engine=target,
            sidecar=target / manifest.NAME,
            flavor=self.loaded.flavor.name,
            version=self.loaded.version,
            size=sum(file.stat().st_size for file in self.folder.iterdir()),
            layers=sum(one.layers for one in engines),
            inputs=self.inputs,
            outputs=self.outputs,
            warnings=tuple(text for one in engines for text in one.warnings),
            proof=proof.by_model([each for one in made for each in one.operators], why),
        )

    def told(self, part: Part) -> str:
        """Some nodes of a rest, and why they are there."""
        own = [name for name in part.nodes if name in self.cut.reasons]
        first = next((n for n in own if self.cut.reasons[n].by != "size"), next(iter(own), ""))
        if not first:
            return f"constants: {', '.join(part.outputs)}"
        more = f" and {len(part.nodes) - 1} more" if len(part.nodes) > 1 else ""
        return f"node {first!r}{more}: {self.cut.reasons[first].why}"


def _tensor(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "dtype": info.dtype, "shape": list(info.shape)}


def _part(made: _Made) -> dict[str, Any]:
    folder = made.onnx.parent
    names = sorted(f.name for f in folder.iterdir() if f.name.split(".")[0] == made.onnx.stem)
    engine = made.onnx.with_suffix(".engine").name if made.built else None
    return {
        "kind": "engine" if made.built else "onnx",
        "onnx": made.onnx.name,
        "engine": engine,
        "sha256": {n: digests.of_file(folder / n) for n in names if not n.endswith(".engine.json")},
        "nodes": list(made.part.nodes),
        "copied": list(made.part.copied),
        "inputs": list(made.inputs),
        "outputs": list(made.outputs),
    }


__all__ = ["build_parts"]
