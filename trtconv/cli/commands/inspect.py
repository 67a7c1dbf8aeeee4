"""inspect: what a file holds, from its own bytes; and what an engine says of itself on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import existing, json_option
from trtconv.core import strict_json
from trtconv.core.errors import UsageError


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@click.option(
    "--prove",
    is_flag=True,
    help="Load an engine on this GPU and compare the types of its layers with its typed ONNX; wider ones are exit 6.",
)
@click.option("--model", type=click.Path(path_type=Path), help="For --prove: the typed ONNX (default: by its facts).")
def inspect(file: Path, as_json: bool, prove: bool, model: Path | None) -> None:
    """Show what FILE holds: an .onnx model, an .engine with its facts, parts, or a calibration cache.

    \b
    trtconv inspect model.engine
    trtconv inspect model.engine --prove
    """
    from trtconv.report.inspect import describe

    if model is not None and not prove:
        raise UsageError("--model belongs to --prove", hint=f"trtconv inspect {file} --prove --model {model}")
    facts: dict[str, Any]
    facts, text = describe(existing(file))
    if prove and facts["kind"] != "engine":
        raise UsageError(f"--prove needs an engine, and {file} is none", hint=f"trtconv inspect {file}")
    found = _prove(file, model) if prove else None
    if found is not None:
        from trtconv.pipeline.results import plain
        from trtconv.report.summary import proof_text

        facts["proof"] = plain(found)
        text += f"\nproved now: it computes {proof_text(found)}"
    click.echo(strict_json.dumps(facts, indent=2) if as_json else text)
    if found is not None:
        _judge(found, file)


def _prove(engine: Path, model: Path | None) -> Any:
    from trtconv.cli.execute import call_function
    from trtconv.stages.prove import ProveRequest

    request = ProveRequest(engine, model and existing(model))
    return call_function("trtconv.stages.prove:prove", request, log_json=False, quiet=True)


def _judge(proof: Any, engine: Path) -> None:
    from trtconv.cli.execute import outcome
    from trtconv.pipeline.gates import of_proof

    if (error := outcome([], [of_proof(proof, engine.name)])) is not None:
        error.reported = True
        raise error
