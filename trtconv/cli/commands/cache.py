"""Calibration caches: show, compare, merge, and check one against a model. And the store of what steps made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trtconv.cli.commands.store import gc, ls
from trtconv.cli.options import existing, json_option
from trtconv.core import strict_json, unfinished
from trtconv.core.errors import UsageError

_CACHE = click.argument("cache", type=click.Path(path_type=Path))


@click.group()
def cache() -> None:
    """Calibration caches in TensorRT's text format, whoever wrote them; and the store of what runs made (ls, gc)."""


cache.add_command(ls)
cache.add_command(gc)


@cache.command()
@_CACHE
@json_option
def show(cache: Path, as_json: bool) -> None:
    """Show what CACHE holds: its header, its facts, the range and scale of every tensor."""
    from trtconv.report.inspect import describe

    facts: dict[str, Any]
    facts, text = describe(existing(cache))
    if facts.get("kind") != "cache":
        raise UsageError(f"{cache}: not a calibration cache", hint="trtconv inspect says what it is")
    click.echo(strict_json.dumps(facts, indent=2) if as_json else text)


@cache.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--tolerance", default=1e-6, show_default=True, help="Relative difference of ranges that counts as none.")
@json_option
def diff(first: Path, second: Path, tolerance: float, as_json: bool) -> None:
    """Compare the ranges of two caches, the largest change first."""
    from trtconv.calibration import cache as caches
    from trtconv.calibration import compare
    from trtconv.report.tables import table

    found = compare.diff(caches.read(existing(first)), caches.read(existing(second)), tolerance)
    if as_json:
        document = {
            "changed": found.changed,
            "only_first": found.only_first,
            "only_second": found.only_second,
            "same": found.same,
        }
        click.echo(strict_json.dumps({"schema": 1, "diff": document}, indent=2))
        return
    click.echo(
        f"{found.same} ranges agree, {len(found.changed)} differ; {len(found.only_first)} only in {first}, "
        f"{len(found.only_second)} only in {second}"
    )
    rows = [[name, f"{a:.6g}", f"{b:.6g}", f"{compare.ratio(a, b):.3f}"] for name, (a, b) in found.changed.items()]
    if rows:
        click.echo(table(["tensor", first.name, second.name, "ratio"], rows, "lrrr"))
    for path, names in ((first, found.only_first), (second, found.only_second)):
        for name in names:
            click.echo(f"only in {path.name}: {name}")


@cache.command()
@click.argument("caches", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Cache to write.")
@click.option(
    "--rule",
    default="max",
    show_default=True,
    type=click.Choice(["first", "last", "max"]),
    help="Which range a tensor gets that several caches have.",
)
def merge(caches: tuple[Path, ...], output: Path, rule: str) -> None:
    """Write one cache with the tensors of several, such as those of a network calibrated in parts.

    It gets no facts beside it: it is used by the names of its tensors, as TensorRT's own caches are.
    """
    from trtconv.calibration import cache as files
    from trtconv.calibration import compare
    from trtconv.core.files import write_text

    if len(caches) < 2:
        raise UsageError("merge needs two caches or more", hint="trtconv cache merge A B -o C")
    whole = compare.merge([(path, files.read(existing(path))) for path in caches], rule)
    files.sidecar(output).unlink(missing_ok=True)
    write_text(output, files.dumps(whole))
    click.echo(f"{output}: {len(whole.amax)} tensors of {len(caches)} caches")


@cache.command()
@_CACHE
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--precision", default="int8", show_default=True, type=click.Choice(["int8", "fp8"]))
@json_option
def check(cache: Path, model: Path, precision: str, as_json: bool) -> None:
    """Say whether CACHE fits MODEL, an ONNX file as it is or as convert leaves it.

    Exit code 2 with the reason when lower would refuse it.
    """
    from trtconv.calibration import cache as files
    from trtconv.core import digests
    from trtconv.graph import editing, fp32_only, model_io, placement
    from trtconv.graph.coverage import coverage

    read, facts = files.read(existing(cache)), files.read_facts(cache)
    with unfinished.scratch() as folder:
        lowered = existing(model)
        if facts is None or facts.model != digests.of_file(model):
            lowered = _converted(model, folder)
        stale = facts is not None and facts.model not in (digests.of_file(model), digests.of_file(lowered))
        network = model_io.load(lowered)
    fp32_only.require(network, str(model))
    editing.normalize(network)
    found = coverage(network, placement.plan(network, precision), read.amax)
    fits = not stale and not found.missing
    if as_json:
        document = {
            "fits": fits,
            "stale": stale,
            "needed": found.needed,
            "missing": found.missing,
            "unmatched": found.unmatched,
        }
        click.echo(strict_json.dumps({"schema": 1, "check": document}, indent=2))
    if stale:
        raise UsageError(
            f"{cache}: was calibrated for another model than {model}; by its names it {found.describe()}",
            hint="calibrate this model, or remove the facts beside the cache to use it by names",
        )
    if not fits:
        raise UsageError(f"{cache}: {found.describe()}", hint="calibrate this model: trtconv calibrate MODEL")
    if not as_json:
        origin = "calibrated for this model" if facts is not None else "no facts beside it, used by its names"
        click.echo(f"{cache}: fits {model} ({origin}); {found.describe()}")


def _converted(model: Path, folder: Path) -> Path:
    """The model as calibrate and lower see it: after convert."""
    from trtconv.cli.execute import call_stage
    from trtconv.core.records import SourceSpec
    from trtconv.stages.convert import ConvertRequest

    request = ConvertRequest(SourceSpec(model.absolute(), "onnx"), folder / "model.onnx")
    call_stage("convert", request, log_json=False, quiet=True)
    return request.model
