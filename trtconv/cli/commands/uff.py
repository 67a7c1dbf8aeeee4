"""uff: what convert-to-uff did, for scripts that call it; the file that it writes is ONNX."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import existing, output_options, parse_constants
from trtconv.core import unfinished
from trtconv.core.errors import UsageError
from trtconv.core.writable import require_result

_DTYPES = {
    "float32": "float",
    "float": "float",
    "dt_float": "float",
    "float16": "float16",
    "half": "float16",
    "dt_half": "float16",
    "int32": "int32",
    "dt_int32": "int32",
    "int64": "int64",
    "dt_int64": "int64",
    "int8": "int8",
    "dt_int8": "int8",
    "uint8": "uint8",
    "bool": "bool",
    "dt_bool": "bool",
}


@click.command()
@click.argument("graph", type=click.Path(path_type=Path))
@click.option("-l", "--list-nodes", is_flag=True, help="List the nodes of the graph and stop.")
@click.option("-t", "--text", is_flag=True, help="Also write the model as text, weights left out.")
@click.option("--write_preprocessed", is_flag=True, help="Also write the graph as -p left it, beside the output.")
@click.option("-d", "--debug", is_flag=True, help="Ask TensorRT which nodes it takes, and say it.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="ONNX file (default: GRAPH with .onnx).")
@click.option("-O", "--output-node", "outputs", multiple=True, metavar="NAME", help="Output (default: sinks).")
@click.option(
    "-I",
    "--input-node",
    "inputs",
    multiple=True,
    metavar="NAME,NEW_NAME,DTYPE,DIM,...",
    help="Node that becomes an input; dimensions as in the graph, batch first, -1 for a dynamic one.",
)
@click.option("-p", "--preprocessor", type=click.Path(path_type=Path), help="Python file with preprocess(graph).")
@click.option(
    "--input-order",
    type=click.Choice(["nchw", "nhwc"]),
    default="nchw",
    show_default=True,
    help="Layout of four-dimensional inputs and outputs of the ONNX model.",
)
@click.option(
    "--constant", "constants", multiple=True, metavar="NAME=VALUE", help="Placeholder with a fixed value: keep_prob=1."
)
@click.option("--input-file", type=click.Path(path_type=Path), help="The graph, where GRAPH is the word tensorflow.")
@click.option("--allow-code", is_flag=True, help="Let the file given with -p run.")
@output_options
def uff(graph: Path, as_json: bool, log_json: bool, quiet: bool, **options: Any) -> None:
    """Convert GRAPH, a frozen .pb, to ONNX with the options of convert-to-uff.

    Names are written without :0, and any node can be cut at. Inputs and outputs are NCHW, as the UFF parser had them.

    \b
    trtconv uff frozen.pb -l
    trtconv uff frozen.pb -o lenet.onnx -O fc2/Relu -I Placeholder,image,float32,-1,28,28,1
    trtconv uff tensorflow --input-file frozen.pb -o lenet.onnx -O fc2/Relu
    """
    from trtconv.cli import execute

    graph = _graph(graph, options["input_file"])
    if options["list_nodes"]:
        click.echo(_listing(existing(graph)))
        return
    output = options["output"] or graph.with_suffix(".onnx")
    output = output.with_suffix(".onnx") if output.suffix == ".uff" else output  # it is no UFF
    if options["preprocessor"] and not options["allow_code"]:
        raise UsageError(f"-p runs the code in {options['preprocessor']}", hint="if you trust it, add --allow-code")
    source = existing(graph)
    require_result(output, source)
    with unfinished.scratch() as folder:
        if options["preprocessor"]:
            source = _preprocessed(source, existing(options["preprocessor"]), folder / graph.name, quiet=quiet)
            if options["write_preprocessed"]:
                from trtconv.core import files

                files.copy(source, output.with_suffix(".preprocessed.pb"))
        request = _request(source, output, options)
        result = execute.call_stage("convert", request, log_json=log_json, quiet=quiet)
    if options["text"]:
        _write_text(output)
    from trtconv.report.models import tensors

    execute.print_result("convert", result, f"{output}\n{tensors(result.inputs, result.outputs)}", as_json)


def _graph(graph: Path, file: Path | None) -> Path:
    """The graph meant: TensorRT 3 had ``tensorflow --input-file GRAPH``."""
    if file is None:
        return graph
    if str(graph) != "tensorflow":
        raise UsageError(f"--input-file {file} and {graph} both name a graph", hint="give one of them")
    return file


def _listing(path: Path) -> str:
    from trtconv.report.tables import table
    from trtconv.sources.tensorflow import graph_reader

    nodes = graph_reader.read_graph(path).nodes
    return table(["", "operator", "node"], [[str(i), node.op, node.name] for i, node in enumerate(nodes)], "r")


def _preprocessed(source: Path, script: Path, target: Path, *, quiet: bool) -> Path:
    from trtconv.cli import execute
    from trtconv.sources.tensorflow.graph_surgeon import Request

    execute.call_function(
        "trtconv.sources.tensorflow.graph_surgeon:preprocess",
        Request(source, script, target),
        log_json=False,
        quiet=quiet,
    )
    return target


def _request(source: Path, output: Path, options: dict[str, Any]) -> Any:
    from trtconv.core.records import InputSpec, SourceSpec
    from trtconv.sources.tensorflow.formats import FROZEN_PB
    from trtconv.stages.convert import ConvertRequest

    constants = _constants(options["constants"])
    cuts = tuple(_cut(text) for text in options["inputs"]) or _placeholders(source, options["outputs"], constants)
    first = options["input_order"] == "nchw"
    names = [cut.name or cut.node.partition(":")[0] for cut in cuts if len(cut.shape or ()) == 4]
    spec = SourceSpec(source, FROZEN_PB.name, constants=tuple(constants.items()), cuts=cuts, channels_first=first)
    turned = tuple(InputSpec(name, layout="nchw") for name in names if first)
    outputs = tuple(name.removesuffix(":0") for name in options["outputs"])
    return ConvertRequest(spec, output, turned, outputs, support=options["debug"])


def _constants(texts: tuple[str, ...]) -> dict[str, bool | float]:
    values: dict[str, bool | float] = {}
    for name, value in parse_constants(texts, "--constant").items():
        if isinstance(value, str):
            raise UsageError(
                f"--constant {name}={value}: expected a number, true or false",
                hint="for example --constant keep_prob=1.0",
            )
        values[name] = value
    return values


def _placeholders(source: Path, outputs: tuple[str, ...], constants: Container[str]) -> tuple[Any, ...]:
    """The inputs that the outputs need."""
    from trtconv.core.records import CutInput
    from trtconv.sources.tensorflow import graph_reader

    nodes = graph_reader.read_graph(source).nodes
    ends = [graph_reader.node_of(name) for name in outputs] or [node.name for node in graph_reader.sinks(nodes)]
    return tuple(
        CutInput(node.name, graph_reader.info(node).shape or None)
        for node in graph_reader.needed_placeholders(nodes, ends, ())
        if node.name not in constants
    )


def _cut(text: str) -> Any:
    """``NAME,NEW_NAME,DTYPE,DIM,...``; what is left empty or out is kept from the graph."""
    from trtconv.core.records import CutInput

    node, new, dtype, *dims = [part.strip() for part in text.split(",")] + [""] * (3 - min(3, text.count(",") + 1))
    known = _DTYPES.get(dtype.lower().rpartition(".")[2], "") if dtype else ""
    if not node or (dtype and not known) or any(not dim.lstrip("-").isdigit() for dim in dims):
        raise UsageError(
            f"-I {text}: expected NAME,NEW_NAME,DTYPE,DIM,DIM,...",
            hint="for example -I Placeholder,image,float32,-1,28,28,1",
        )
    shape = tuple(int(dim) if int(dim) > 0 else "batch" if axis == 0 else -1 for axis, dim in enumerate(dims))
    return CutInput(node.removesuffix(":0"), shape or None, new, known)


def _write_text(output: Path) -> None:
    import onnx

    from trtconv.core import files
    from trtconv.graph import editing, model_io

    text = onnx.printer.to_text(editing.skeleton(model_io.load(output, weights=False)))
    files.write_text(output.with_name(output.name + ".txt"), text + "\n")
