"""The command group. Commands are rows of a table; each is imported when it is called, so that --help stays quick."""

from __future__ import annotations

import sys
from typing import Any

import click

from trtconv import __version__
from trtconv.cli import streams
from trtconv.core import endings, unfinished, writable
from trtconv.core.errors import Interrupted, TrtconvError
from trtconv.core.lazy import resolve

COMMANDS = {
    "init": ("trtconv.cli.commands.init:init", "A first job file for a model, with comments."),
    "run": ("trtconv.cli.commands.job:run", "Run the whole line of a job file."),
    "check": ("trtconv.cli.commands.job:check", "Validate a job and say what would run; touch nothing."),
    "plan": ("trtconv.cli.commands.job:plan", "The steps of a job, and which are up to date or why not."),
    "freeze": ("trtconv.cli.commands.stages:freeze", "A SavedModel or Keras model to a frozen graph."),
    "convert": ("trtconv.cli.commands.stages:convert", "Any source to checked FP32 ONNX."),
    "uff": ("trtconv.cli.commands.uff:uff", "A frozen graph to ONNX with the options of convert-to-uff."),
    "calibrate": ("trtconv.cli.commands.stages:calibrate", "Activation ranges from samples to a calibration cache."),
    "cache": ("trtconv.cli.commands.cache:cache", "Calibration caches: show, diff, merge, check. The store: ls, gc."),
    "lower": ("trtconv.cli.commands.stages:lower", "FP32 ONNX to typed ONNX: fp16, int8, ..."),
    "build": ("trtconv.cli.commands.stages:build", "A model to a TensorRT engine."),
    "refit": ("trtconv.cli.commands.refit:refit", "Other weights for an engine, after proof of the same network."),
    "verify": ("trtconv.cli.commands.verify:verify", "Compare models with each other and with labels."),
    "infer": ("trtconv.cli.commands.infer:infer", "Samples through an engine."),
    "bench": ("trtconv.cli.commands.bench:bench", "Throughput and latency of an engine."),
    "export": ("trtconv.cli.commands.export:export", "Engines to a Triton model repository."),
    "upgrade": ("trtconv.cli.commands.upgrade:upgrade", "One job under two versions of TensorRT: what differs."),
    "report": ("trtconv.cli.commands.report:report", "What a finished job made and measured, as HTML or Markdown."),
    "trtexec": ("trtconv.cli.commands.trtexec:trtexec", "What a command line of NVIDIA's trtexec asks for."),
    "inspect": ("trtconv.cli.commands.inspect:inspect", "What a model, engine or cache file holds."),
    "doctor": ("trtconv.cli.commands.doctor:doctor", "What this machine has, and how to install what it lacks."),
    "schema": ("trtconv.cli.commands.job:schema", "The job file's JSON Schema, for editors."),
}


class _LazyGroup(click.Group):
    """A group whose listing needs none of its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = resolve(COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            from trtconv.core.names import did_you_mean

            raise click.UsageError(f"no such command {args[0]!r}; {did_you_mean(args[0], COMMANDS)}".rstrip("; "), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="trtconv")
def cli() -> None:
    """Trained networks to calibrated, verified and measured TensorRT engines.

    The line is freeze -> convert -> calibrate -> lower -> build -> verify -> infer / bench. A YAML job file drives it
    whole (trtconv run job.yaml) or up to a stage (trtconv build job.yaml); each stage also works on a model and
    options (trtconv build model.onnx -o model.engine --precision fp16).

    Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 internal error, 2 job or
    usage, 3 source or conversion, 4 build, 5 environment, 6 accuracy gate, 7 performance gate, 130 interrupted,
    143 terminated.
    """


def main() -> None:
    """Run the command line and leave with the exit code that the outcome has."""
    streams.in_utf8()
    streams.prepare()
    endings.hear()
    try:
        code = _outcome()
    finally:
        endings.over()
        unfinished.remove_all()
    sys.exit(code)


def _outcome() -> int:
    """Run the command; its exit code."""
    try:
        with writable.told():
            cli(prog_name="trtconv", standalone_mode=False)
            streams.flush()
    except Interrupted as error:
        _tell(error.message.replace("interrupted", endings.word(), 1), error.hint)
        return endings.exit_code()
    except TrtconvError as error:
        _tell(error.message, error.hint)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _tell(endings.word())
        return endings.exit_code()
    except Exception:  # noqa: BLE001 - the border: whatever is not understood is shown whole
        import traceback

        traceback.print_exc()
        _tell(
            "internal error", f"please report it with the text above and the output of: trtconv doctor ({__version__})"
        )
        return 1
    return 0


def _tell(message: str, hint: str = "") -> None:
    first, *more = message.split("\n")
    lines = [f"trtconv: error: {first}", *(more if first.startswith("a child") else [f"  {line}" for line in more])]
    lines += [f"  next: {hint}"] if hint else []
    click.echo("\n".join(lines), err=True)
