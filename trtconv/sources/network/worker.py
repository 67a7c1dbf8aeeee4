"""The process in which a script runs: it is recorded up to where it builds, and written as ONNX."""

from __future__ import annotations

import runpy
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core.errors import ConversionError, SourceError, TrtconvError, UsageError
from trtconv.core.names import did_you_mean
from trtconv.sources.network import asked, batch, calling, standin, weights
from trtconv.sources.network.definition import Network
from trtconv.sources.network.emit.assembly import Assembly
from trtconv.sources.network.recording import Finished, Refused

_PACKAGE = str(Path(__file__).parents[2])
_SHOWN = 8
_NOBODY = "the script neither asks for such a file nor has a function with parameters network and weights"
_INSTEAD = (
    "(network, weights) of the script, instead of running the script: what it asks of the builder elsewhere is not seen"
)
_IMPLICIT_HINT = "say which it is: source.implicit_batch: true or false (--implicit-batch)"


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        script: a Python file.
        model: the ONNX file to write.
        weights: a file for the script, or None.
        implicit_batch: ``auto``, ``true`` or ``false``.
        arguments: the script's command line.
        version: what ``tensorrt.__version__`` says.
    """

    script: Path
    model: Path
    weights: Path | None = None
    implicit_batch: str = "auto"
    arguments: tuple[str, ...] = ()
    version: str = standin.VERSION


@dataclass(frozen=True)
class Recording:
    """What came of it.

    Attributes:
        layers: how many of each kind, by the interface's name.
        decision: implicit or explicit batch, and why.
        asked: what the script asked of the builder.
        notes: what people should know of it: (level, text).
    """

    layers: dict[str, int]
    decision: batch.Decision
    asked: asked.Asked
    notes: tuple[tuple[str, str], ...] = ()


@dataclass
class _Recorder:
    """One run of a script."""

    request: Request
    decided: dict[int, batch.Decision] = field(default_factory=dict)
    assemblies: dict[int, Assembly] = field(default_factory=dict)
    built: Network | None = None
    builders: list[Any] = field(default_factory=list)

    def ask(self, network: Network) -> Assembly:
        """The network so far, for shapes that a script asks early; that settles how shapes are read."""
        key = id(network)
        if key not in self.assemblies:
            self.decided[key] = self.decide(network)
            self.assemblies[key] = Assembly(network, self.decided[key].implicit, self.major >= asked.INT64_SHAPES)
        return self.assemblies[key]

    @property
    def major(self) -> int:
        """Of the version that the script is told."""
        number = self.request.version.partition(".")[0]
        if not number.isdigit():
            raise UsageError(f"source.api_version {self.request.version!r} is no version", hint="such as 10.0 or 8.6.1")
        return int(number)

    def decide(self, network: Network) -> batch.Decision:
        return batch.decide(network, self.request.implicit_batch, self.major)

    def done(self, network: Network) -> None:
        self.built = network

    def watched(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """The builder's class, with every builder that is made of it remembered."""

        def builder(*given: Any, **named: Any) -> Any:
            self.builders.append(make(*given, **named))
            return self.builders[-1]

        return builder

    def finish(self) -> tuple[Network, Assembly, batch.Decision]:
        network = self.built or next((b.networks[-1] for b in reversed(self.builders) if b.networks), None)
        if network is None:
            raise Refused("the script builds no network", "it has to call builder.create_network and add layers to it")
        now = self.decide(network)
        assembly = self.ask(network)
        if now.implicit != self.decided[id(network)].implicit:
            raise Refused(
                f"a shape was asked for when the batch looked {_word(not now.implicit)}, and in the end it looks "
                f"{_word(now.implicit)}: {now.reason}",
                _IMPLICIT_HINT,
            )
        return network, assembly, now


def _word(implicit: bool) -> str:
    return "implicit" if implicit else "explicit"


def record(request: Request) -> Recording:
    """Run a script against the recorder and write what it built.

    Raises:
        SourceError: the script fails, or builds no network.
        ConversionError: something in the network that does not become ONNX.
    """
    from onnx import save_model

    recorder = _Recorder(request)
    try:
        ending = _run(request, recorder)
        network, assembly, decision = recorder.finish()
        model = assembly.model()
    except Refused as refused:
        raise ConversionError(f"{request.script}: {refused.message}", hint=refused.hint) from None
    save_model(model, request.model)
    layers = Counter(layer.kind.interface for layer in network.layers)
    told = asked.of(network, decision)
    return Recording(dict(layers), decision, told, (*ending, *asked.notes(network, decision, told)))


def _run(request: Request, recorder: _Recorder) -> list[tuple[str, str]]:
    """Run the script to where it builds, or to its end."""
    script = request.script.resolve()
    trt = standin.tensorrt(recorder.ask, recorder.done, request.version)
    builder = recorder.watched(trt.Builder)
    trt.__dict__["Builder"] = builder
    given = weights.load(request.weights) if request.weights is not None else None
    source = None if request.weights is None else request.weights.resolve()
    with standin.installed(trt, script, request.arguments), calling.offered(source, given) as offer:
        name = calling.function_of(script) if given is not None else ""

        def run() -> None:
            if given is not None and name:
                calling.call(script, name, given, builder, trt)
            else:
                runpy.run_path(str(script), run_name="__main__")

        notes = _guarded(script, run, recorder, given or {})
    if given is not None and not name and not offer.used:
        raise SourceError(
            f"{request.weights}: {_NOBODY}",
            hint="leave source.weights out where the script finds its weights by itself",
        )
    return [("info", f"called {name}{_INSTEAD}"), *notes] if name else notes


def _status(code: Any) -> str:
    """What sys.exit was given: a number, nothing, or words."""
    return code if isinstance(code, str) else f"exit status {code or 0}"


def _guarded(script: Path, run: Callable[[], Any], recorder: _Recorder, given: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        run()
    except Finished:
        return []
    except SystemExit as end:
        if not recorder.builders or not any(b.networks and b.networks[-1].outputs for b in recorder.builders):
            raise SourceError(
                f"{script}: the script ended before it built a network: {_status(end.code)}",
                hint="it may want arguments: source.arguments: [...] (--argument); its output is in the log",
            ) from None
    except TrtconvError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the script raises
        raise _failed(script, error, given) from None
    return [("warning", "the script ended without building: its last network is taken")] if not recorder.built else []


def _failed(script: Path, error: Exception, given: dict[str, Any]) -> SourceError:
    """An exception of the script, with its line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<frozen"))]
    own = [frame for frame in own if Path(frame.filename).is_relative_to(script.parent)] or own
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
    if isinstance(error, SyntaxError) and error.lineno:
        place = f"{Path(error.filename or script).name}:{error.lineno}: "
    text = " ".join(str(error).split())[:300]
    return SourceError(f"{script}: {place}{type(error).__name__}: {text}", hint=_remedy(error, given))


def _remedy(error: Exception, given: dict[str, Any]) -> str:
    if isinstance(error, KeyError) and error.args and given:
        near = did_you_mean(str(error.args[0]), given)
        named = ", ".join(sorted(given)[:_SHOWN]) + (f" and {len(given) - _SHOWN} more" if len(given) > _SHOWN else "")
        return f"source.weights has {named}{f'; {near}' if near else ''}"
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name} here, or name an interpreter that has it: source.python"
    if isinstance(error, AttributeError) and "'numpy'" in str(error):
        return "the script is for an older NumPy: name an interpreter that has it: source.python"
    if isinstance(error, FileNotFoundError):
        return "the script runs in its own folder; source.weights stands in for a weights file that it opens"
    return "mend that line; the script's own output is in the log"
