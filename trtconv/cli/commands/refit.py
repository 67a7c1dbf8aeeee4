"""refit: other weights for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trtconv.cli.options import FILE, existing, existing_or_glob, output_options
from trtconv.core import permission, strict_json, unfinished
from trtconv.core.errors import AccuracyGateError, UsageError
from trtconv.core.writable import require_result

_SAME = "trtconv.pipeline.refit:is_same"
_REFIT = "trtconv.pipeline.refit:refit"


@click.command()
@click.argument("engine", type=FILE)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, help="The new engine; its facts go to FILE.json. ENGINE stays as it is.")
@click.option("--data", type=FILE, help="Samples to verify on: .npz, .npy, a folder or a glob (default: random ones).")
@click.option("--no-verify", is_flag=True, help="Do not compare the new engine with its typed ONNX.")
@click.option("--allow-code", is_flag=True, help="Let code inside the model run, and plugins of the engine.")
@output_options
def refit(
    engine: Path, model: Path, output: Path | None, data: Path | None, no_verify: bool, allow_code: bool, **shown: Any
) -> None:
    """Give ENGINE the weights of MODEL: the same network, trained again.

    MODEL is typed ONNX, as trtconv lower makes it, or any source that the job behind the engine can lower the same way.
    First it is proven to be the network that the engine was built from: the same graph, names, types and constants, and
    weights of the same shapes; otherwise the command ends with what differs (exit 3).

    TensorRT replaces the weights of an engine built with build.refit (or build.strip_weights) on a GPU. Everywhere else
    the engine is built again as it was, compared with the old one, and the output says so and why. The new engine is
    verified against its typed ONNX where a GPU can run it (exit 6 where it differs).

    \b
    trtconv refit model.engine retrained.typed.onnx -o new.engine
    trtconv refit model.engine retrained.onnx -o new.engine --data heldout.npz
    trtconv refit stripped.engine model.typed.onnx -o whole.engine
    """
    if output is None:
        raise UsageError("refit needs -o FILE for the new engine", hint=f"trtconv refit {engine} {model} -o new.engine")
    if no_verify and data is not None:
        raise UsageError("--data is for verifying, and --no-verify leaves that out", hint="leave one of them out")
    if allow_code:
        permission.grant()
    quiet, log_json = shown["quiet"], shown["log_json"]
    for read in (existing(engine), existing(model), data):  # before anything is done with them
        if read is not None:
            require_result(output, read)
    with unfinished.scratch() as folder:
        typed = _typed(existing(engine), existing(model), folder, allow_code, quiet=quiet, log_json=log_json)
        result = _refit(engine, typed, output, allow_code, folder, quiet=quiet, log_json=log_json)
        found, why = _verified(result, typed, data and existing_or_glob(data), folder, no_verify, quiet, log_json)
    _tell(result, found, why, shown["as_json"])


def _typed(engine: Path, model: Path, folder: Path, allow_code: bool, **shown: bool) -> Path:
    """The model itself, or what the job behind the engine makes of it."""
    from trtconv.cli.console import listening
    from trtconv.cli.execute import call_function
    from trtconv.pipeline.refit import known_of, lowering

    known = known_of(engine)
    given_onnx = model.suffix.lower() == ".onnx"
    if given_onnx and call_function(_SAME, (engine, model), **shown):
        return model
    if not lowering.can_lower(known):
        return model  # the proof says what differs
    with listening(**shown) as emit:
        return lowering.lowered(known, model, folder / "lowered", emit, allow_code=allow_code)


def _refit(engine: Path, typed: Path, output: Path, allow_code: bool, folder: Path, **shown: bool) -> Any:
    from trtconv.cli.execute import call_function
    from trtconv.pipeline.refit import RefitRequest

    request = RefitRequest(engine, typed, output, allow_code, folder / "samples.npz")
    return call_function(_REFIT, request, **shown)


def _verified(
    result: Any, typed: Path, data: Path | None, folder: Path, left_out: bool, quiet: bool, log_json: bool
) -> tuple[Any, str]:
    """The verdict, or why there is none."""
    from trtconv.cli.execute import call_stage
    from trtconv.core.records import FeedSpec
    from trtconv.engines.plan import preflight
    from trtconv.stages.verify.records import VerifyRequest

    samples = data or folder / "samples.npz"
    if left_out:
        return None, "--no-verify"
    if reasons := preflight.preflight(result.engine):
        return None, "; ".join(reasons)
    if not samples.exists():
        return None, "its inputs decide shapes: give samples with --data"
    request = VerifyRequest(
        reference=typed,
        reference_label=f"typed ONNX ({typed.name})",
        candidates={result.engine.name: result.engine},
        data=FeedSpec(samples),
        tolerate_missing_gpu=False,
        corners=data is not None,
    )
    return call_stage("verify", request, quiet=quiet, log_json=log_json), ""


def _tell(result: Any, found: Any, why: str, as_json: bool) -> None:
    """Print both results.

    Raises:
        AccuracyGateError: the engine differs from its typed ONNX.
    """
    from trtconv.core.plain import plain
    from trtconv.report.refit import refit_text
    from trtconv.report.verify import verify_text

    if as_json:
        verdict = {"not_verified": why} if found is None else {"verify": plain(found)}
        click.echo(strict_json.dumps({"schema": 1, "refit": plain(result), **verdict}, indent=2))
    else:
        click.echo(refit_text(result))
        click.echo(f"not verified: {why}" if found is None else verify_text(found))
    if found is not None and found.violations:
        error = AccuracyGateError(
            "\n".join(["accuracy gate missed", *found.violations]),
            hint="build the engine again without build.refit: trtconv build",
        )
        error.reported = True
        raise error
