"""trtexec: NVIDIA's command lines, done by trtconv's own means. Output lines that scripts look for keep their form."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from trtconv import __version__
from trtconv.cli.console import listening
from trtconv.cli.options import existing
from trtconv.core import unfinished
from trtconv.core.errors import SourceError, TrtconvError, UsageError

_NAME = f"TensorRT.trtexec [trtconv {__version__}] # trtexec"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def trtexec(flags: tuple[str, ...]) -> None:
    """Do what a command line of NVIDIA's trtexec (TensorRT 8.6, 10 or 11) asks for.

    Every flag is honoured, or refused by name with the reason; docs/trtexec.md lists them all. Two more are
    trtconv's own: --emit-job=FILE writes the job file that does the same, --semantics=NAME chooses what the numbers
    mean (trtexec10, unless a flag that only trtexec 11 has is given).

    \b
    trtconv trtexec --onnx=model.onnx --fp16 --saveEngine=model.engine --skipInference
    trtconv trtexec --onnx=model.onnx --int8 --calib=model.cache --emit-job=job.yaml
    trtconv trtexec --loadEngine=model.engine --shapes=image:8x28x28x1
    """
    command = shlex.join(flags)
    click.echo(f"&&&& RUNNING {_NAME} {command}")
    try:
        _run(flags)
    except TrtconvError:
        click.echo(f"&&&& FAILED {_NAME} {command}")
        raise
    click.echo(f"&&&& PASSED {_NAME} {command}")


def _run(flags: tuple[str, ...]) -> None:
    from trtconv.job import trtexec, trtexec_line

    given = trtexec_line.parse(flags)
    if "loadEngine" in given:
        _engine(given)
        return
    wanted = trtexec.translate(given, _facts(given))
    for note in wanted.notes:
        _line(note, "W")
    if "emit-job" in given:
        _emit(wanted, Path(given["emit-job"][-1]), given, flags)
    else:
        _build(wanted, given)


def _facts(given: Mapping[str, tuple[str, ...]]) -> Any:
    """What the mapping must know of the model; a file that is not there is left to the errors of the mapping."""
    from trtconv import sources
    from trtconv.job.trtexec import Model

    path = Path(given.get("onnx", given.get("uff", given.get("deploy", ("",))))[-1])
    if not path.name:
        return Model()
    existing(path)
    if "deploy" in given:
        return Model(batched=_caffe_inputs(path))
    if "uff" not in given:
        return _onnx_facts(path)
    try:
        sources.detect(path)
    except SourceError as error:
        raise SourceError(
            f"--uff={path}: UFF files have had no reader since TensorRT 9, and this is nothing else that trtconv "
            f"reads ({error.message})",
            hint="give the frozen TensorFlow graph that the UFF file was made from: --uff=frozen.pb",
        ) from None
    return Model()


def _caffe_inputs(path: Path) -> Any:
    from trtconv import sources
    from trtconv.core.lazy import resolve

    found = sources.detect(path)
    if found.name != "caffe":
        raise SourceError(
            f"--deploy={path}: this is {found.title}", hint="--deploy names a prototxt, --model its weights"
        )
    return tuple(resolve(found.describe)(path).tensors[0].inputs)


def _onnx_facts(path: Path) -> Any:
    from trtconv.core.errors import ConversionError
    from trtconv.graph import fp32_only, model_io
    from trtconv.job.trtexec import Model

    model = model_io.load(path, weights=False)
    inputs, _ = model_io.interface(model)
    quantized = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node)
    try:
        fp32_only.require(model, str(path))
    except ConversionError:
        return Model("quantized already" if quantized else "typed already", quantized, inputs)
    return Model(inputs=inputs)


def _validated(wanted: Any, folder: Path, name: str) -> Any:
    from trtconv.job.load import validate
    from trtconv.job.yaml_tree import Tree

    data = {"version": 1, "name": name, "output": str(folder), **wanted.job}
    return validate(Tree(data, values={(): "command line"}), Path.cwd(), name)


def _build(wanted: Any, given: Mapping[str, tuple[str, ...]]) -> None:
    """Build the engine, and measure it unless that is to be skipped."""
    from trtconv.pipeline.layout import Layout
    from trtconv.pipeline.line import line, upto
    from trtconv.pipeline.run import run

    with unfinished.scratch() as folder, listening() as emit:
        kept = _kept(Path(given["saveEngine"][-1]).absolute()) if "saveEngine" in given else {}
        job = _validated(_with_samples(wanted, folder / "inputs.npz"), folder, "model")
        layout = Layout(folder, "model", kept)
        wanted = _with_files(wanted, folder)
        steps = [_exporting(node, wanted) for node in line(job, layout, allow_code=bool(job.plugins))]
        _allow_runtime(given)
        done = run(steps if job.bench else upto(steps, "build"), layout, emit)
        if error := next((step.error for step in done if step.error is not None), None):
            raise error
        for step in done:
            if step.node.stage == "build":
                _line(
                    f"Engine built in {step.seconds:.3f} sec: {step.result.size} bytes, {step.result.flavor} "
                    f"{step.result.version}"
                )
                _told_types(step.result.proof)
            elif step.node.stage == "bench":
                _report(step.result)
                _dumped(wanted, given)


def _told_types(proof: Any) -> None:
    """In which types the engine computes. trtexec's flags only allow a type: a wider one is a warning here."""
    from trtconv.pipeline.gates import of_proof
    from trtconv.report.summary import proof_text

    _line(f"It computes {proof_text(proof)}")
    if not (verdict := of_proof(proof, "")).passed:
        for text in verdict.said.splitlines():
            _line(text, "W")


def _with_files(wanted: Any, scratch: Path) -> Any:
    """What is only printed goes through a file too."""
    files = {
        what: scratch / f"{what}.json" if file == Path() else file.absolute() for what, file in wanted.exports.items()
    }
    return dataclasses.replace(wanted, exports=files)


def _exporting(node: Any, wanted: Any) -> Any:
    """A step that measures also writes the files of --exportTimes and the like."""
    if node.stage != "bench" or not wanted.exports:
        return node
    from trtconv.stages.bench import Exports

    exports, request = Exports(**wanted.exports), node.request
    return dataclasses.replace(node, request=lambda history: dataclasses.replace(request(history), exports=exports))


def _dumped(wanted: Any, given: Mapping[str, tuple[str, ...]]) -> None:
    """Print what --dumpOutput and --dumpLayerInfo ask for."""
    if "dumpOutput" in given:
        _line("Output Tensors:")
        for output in json.loads(wanted.exports["outputs"].read_text(encoding="utf-8")):
            _line(f"{output['name']}: ({output['dimensions']})")
            click.echo(" ".join(f"{value:g}" for value in output["values"]))
    if "dumpLayerInfo" in given:
        _line("Layer Information:")
        click.echo(wanted.exports["layers"].read_text(encoding="utf-8"), nl=False)


def _kept(engine: Path) -> dict[str, Path]:
    """The files that stay: the engine, and the typed ONNX behind it, which runs where the engine cannot."""
    return {"engine": engine, "typed": engine.with_name(f"{engine.name}.onnx")}


def _engine(given: Mapping[str, tuple[str, ...]]) -> None:
    """Measure an engine that exists, or print its version."""
    from trtconv.engines.plan import header
    from trtconv.job import trtexec

    wanted = trtexec.translate(given, trtexec.Model())
    path = existing(Path(given["loadEngine"][-1]))
    if "emit-job" in given:
        raise UsageError("--emit-job: a job begins with a model, not with an engine", hint="trtconv bench ENGINE")
    _allow_plugins(path, given)
    _allow_runtime(given)
    for note in wanted.notes:
        _line(note, "W")
    if "getPlanVersionOnly" in given:
        _line(f"Plan was created with TensorRT version {header.read(path).version}")
        return
    _bench_engine(path, wanted, given)


def _allow_plugins(engine: Path, given: Mapping[str, tuple[str, ...]]) -> None:
    """Libraries that are named may run; which ones an engine needs, its own sidecar says.

    Raises:
        UsageError: it says nothing of a library that is named.
    """
    from trtconv.core import digests, permission
    from trtconv.engines.plan import plugin_files
    from trtconv.job.trtexec_line import PLUGINS

    named = [existing(Path(file)) for flag in PLUGINS for file in given.get(flag, ())]
    known = {digests.of_file(one.file) for one in plugin_files.needed(engine) if one.file and one.file.is_file()}
    for file in named:
        if digests.of_file(file) not in known:
            raise UsageError(
                f"{file}: {engine.name}.json does not say that the engine needs this plugin",
                hint="build the engine with the plugin: its sidecar then names what is loaded with it",
            )
        permission.grant()


def _allow_runtime(given: Mapping[str, tuple[str, ...]]) -> None:
    """A lean runtime that is named, or built into the engine, may run."""
    if "leanDLLPath" in given or "versionCompatible" in given or "vc" in given:
        from trtconv.core import permission

        permission.grant()


def _bench_engine(path: Path, wanted: Any, given: Mapping[str, tuple[str, ...]]) -> None:
    from trtconv.cli.execute import call_stage
    from trtconv.core.records import FeedSpec
    from trtconv.pipeline import sections
    from trtconv.stages.bench import BenchRequest, Exports

    inputs, shapes = _engine_shapes(path, wanted.shapes)
    with unfinished.scratch() as scratch:
        wanted = _with_files(_with_samples(wanted, scratch / "inputs.npz", inputs, shapes), scratch)
        section = _validated_bench(wanted.job["bench"])
        data = None if section.data is None else FeedSpec(section.data.path)
        rules = {
            "transfers": section.transfers,
            "spin": section.spin,
            "graph": section.cuda_graph,
            "depth": section.depth,
        }
        batches = tuple(section.batch) if "batch" in wanted.job["bench"] else ()
        request = BenchRequest(
            model=path,
            fallback=None,
            backend="auto",
            batches=batches,
            semantics=section.semantics,
            warmup=section.warmup,
            duration=section.duration,
            iterations=section.iterations,
            percentiles=tuple(section.percentiles),
            streams=section.streams,
            data=data,
            device_api="auto",
            rules=rules,
            layers=section.layers,
            loading=sections.loading(section),
            exports=Exports(**wanted.exports),
        )
        _report(call_stage("bench", request, log_json=False, quiet=False))
        _dumped(wanted, given)


def _validated_bench(values: Mapping[str, Any]) -> Any:
    from trtconv.job.load import checked
    from trtconv.job.schema import Bench
    from trtconv.job.yaml_tree import Tree

    return checked(Bench, Tree(dict(values), values={(): "command line"}), Path.cwd())


def _engine_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The engine's inputs, and the shapes to measure: measurements vary the batch only.

    Raises:
        UsageError: shapes were given that differ from the profile's optimum in more than the batch.
    """
    from trtconv.core.records import TensorInfo
    from trtconv.engines.plan import sidecar

    known = sidecar.read(path)
    if known is None:
        return None, dict(shapes)
    inputs = [TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in known.facts["inputs"]]
    best = {name: r.optimum for profile in known.profiles[:1] for name, r in profile.items()}
    best |= {info.name: tuple(map(int, info.shape)) for info in inputs if info.name not in best}
    for name, dims in shapes.items():
        if name not in best:
            raise UsageError(f"--shapes: {path} has no input {name!r}", hint=f"its inputs are {', '.join(best)}")
        if dims[1:] != best[name][1:]:
            raise UsageError(
                f"--shapes: {name} is {'x'.join(map(str, dims))}, and the engine is measured at its optimum "
                f"{'x'.join(map(str, best[name]))}: only the batch may differ",
                hint="build an engine with those as --optShapes",
            )
    return inputs, {**best, **shapes}


def _with_samples(wanted: Any, file: Path, inputs: Any = None, shapes: Any = None) -> Any:
    """The same with the files of --loadInputs collected in one .npz."""
    if not wanted.samples or "bench" not in wanted.job:
        return wanted
    from trtconv.data.raw import collect

    collect(wanted.samples, shapes or wanted.shapes, inputs or _onnx_inputs(wanted), file)
    bench = {**wanted.job["bench"], "data": {"path": str(file)}}
    return dataclasses.replace(wanted, job={**wanted.job, "bench": bench})


def _onnx_inputs(wanted: Any) -> Any:
    from trtconv.graph import model_io

    path = Path(wanted.job.get("source", {}).get("path", ""))
    if path.suffix != ".onnx":
        raise UsageError(
            "--loadInputs: types and shapes of the inputs are not known before the conversion",
            hint="convert first: trtconv convert MODEL -o model.onnx, then --onnx=model.onnx",
        )
    return model_io.interface(model_io.load(path, weights=False))[0]


def _emit(wanted: Any, file: Path, given: Mapping[str, tuple[str, ...]], flags: Iterable[str]) -> None:
    """Write the job file that does the same, with paths that start from its folder."""
    from trtconv.core.files import write_text
    from trtconv.job.emit import text

    folder = file.absolute().parent
    wanted = _with_samples(wanted, folder / f"{file.stem}.inputs.npz")
    engine = Path(given["saveEngine"][-1]).absolute() if "saveEngine" in given else folder / "build" / f"{file.stem}.x"
    _validated(wanted, engine.parent, engine.stem)
    job = {"version": 1, "name": engine.stem, "output": str(engine.parent), **wanted.job}
    remarks = [f"trtexec {shlex.join(flag for flag in flags if not flag.startswith('--emit-job'))}", *wanted.notes]
    write_text(file, text(job, folder, remarks))
    _line(f"{file}: written; trtconv run {file} makes {engine.stem}.{wanted.job['precision'][0]}.engine")


def _report(result: Any) -> None:
    """The summary, in trtexec's words."""
    if result.fell_back:
        _line(f"The engine did not run: {result.fell_back}", "W")
    _line(f"Measured: {result.runner}, semantics {result.semantics}")
    for note in result.notes:
        _line(note, "W")
    for measured in result.measurements:
        _line("=== Performance summary ===")
        _line(f"Throughput: {measured.queries / measured.wall:g} qps")
        _line(f"Latency: {_statistics(measured.latency_ms)}")
        for title, part in _PARTS:
            if part in measured.parts_ms:
                _line(f"{title}: {_statistics(measured.parts_ms[part])}")
        _line(f"Total Host Walltime: {measured.wall:g} s")
        if "compute" in measured.parts_ms:
            _line(f"Total GPU Compute Time: {measured.parts_ms['compute']['mean'] * measured.queries / 1e3:g} s")
        _layers(measured.layers)


def _layers(layers: Iterable[tuple[str, float]]) -> None:
    if not layers:
        return
    _line("=== Profile ===")
    whole = sum(ms for _, ms in layers)
    for name, ms in layers:
        _line(f"{ms:12.4f} ms {100 * ms / whole:6.1f} %  {name}")


_PARTS = (("Enqueue Time", "enqueue"), ("H2D Latency", "h2d"), ("GPU Compute Time", "compute"), ("D2H Latency", "d2h"))


def _statistics(values: Mapping[str, float]) -> str:
    named = [f"{what} = {values[what]:g} ms" for what in ("min", "max", "mean", "median")]
    named += [f"percentile({name[1:]}%) = {value:g} ms" for name, value in values.items() if name.startswith("p")]
    return ", ".join(named)


def _line(text: str, level: str = "I") -> None:
    click.echo(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [{level}] {text}")
