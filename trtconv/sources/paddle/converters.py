"""The two converters: paddle2onnx's extension for older programs, Paddle with a later paddle2onnx for Paddle 3's.

Both report success where they made nothing and abort on what they do not know, so nothing that they say is believed.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

import onnx

from trtconv.core import child, interpreter
from trtconv.core.child import ChildCrash
from trtconv.core.errors import ConversionError, EnvironmentProblem
from trtconv.core.events import Emit
from trtconv.graph import model_io
from trtconv.sources.paddle import extension, paddle3, parameters, program_file, upgrade
from trtconv.sources.paddle.network import Network
from trtconv.sources.paddle.parameters import Tensor
from trtconv.sources.paddle.program import Operator, Program

_ROUNDS = 30
_ATTRIBUTE = re.compile(r"[Cc]annot found attribute (\w+) in op: (\w+)")


class Converter(Protocol):
    """What makes ONNX of a part of a network; a context manager."""

    name: str

    def __enter__(self) -> Converter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def prepared(self, part: Program) -> Program:
        """The part with operators that it knows, as far as they have other names."""

    def takes(self, op: Operator) -> bool:
        """Whether it converts an operator."""

    def convert(self, part: Program, opset: int) -> onnx.ModelProto:
        """The model of a part; inputs and outputs are called as in the part.

        Raises:
            ConversionError: it failed, or made nothing.
        """


def weights_file(weights: Mapping[str, Tensor], part: Program, network: Network, folder: Path) -> Path | None:
    """A combined file with the weights of a part: the network's own where it holds just these; None for none."""
    names = [variable.name for variable in part.weights()]
    if not names:
        return None
    half = any(weights[name].half for name in names)
    if network.files.weights.is_file() and len(names) == len(weights) and not half:
        return network.files.weights
    path = folder / "part.pdiparams"
    parameters.combine({name: weights[name] for name in names}, path)
    return path


class OldConverter:
    """paddle2onnx's extension, in a child process."""

    def __init__(self, network: Network, weights: Mapping[str, Tensor], scratch: Path, emit: Emit) -> None:
        self.name = f"paddle2onnx {extension.VERSION}"
        self._network, self._weights, self._emit = network, weights, emit
        self._operators = extension.supported()
        self._folder = Path(tempfile.mkdtemp(prefix=".paddle-", dir=scratch))

    def __enter__(self) -> OldConverter:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepared(self, part: Program) -> Program:
        """Operators of 1.x under today's names."""
        return upgrade.upgrade(part)

    def takes(self, op: Operator) -> bool:
        """By its list."""
        return op.type in self._operators

    def convert(self, part: Program, opset: int) -> onnx.ModelProto:
        """Convert; attributes that it misses get the values that the program meant."""
        weights = weights_file(self._weights, part, self._network, self._folder)
        path, made = self._folder / "part.pdmodel", self._folder / "part.onnx"
        opset = min(max(opset, extension.OPSETS[0]), extension.OPSETS[-1])
        request = {"program": str(path), "weights": str(weights or ""), "opset": opset, "model": str(made)}
        for _ in range(_ROUNDS):
            path.write_bytes(program_file.write(part))
            log = self._folder / "log"
            try:
                size = child.call("trtconv.sources.paddle.extension:convert", request, self._emit, log).value
            except ChildCrash:
                missing = _ATTRIBUTE.search(log.read_text(errors="replace"))
                if missing is None or not upgrade.add(part, missing[2], missing[1]):
                    raise _failure(self.name, log) from None
            else:
                if not size:
                    raise _failure(self.name, log)
                return model_io.load(made)
        raise _failure(self.name, log)


def _failure(name: str, log: Path) -> ConversionError:
    """What the converter said before it gave up, without what says nothing."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()] if log.exists() else []
    said = [line for line in lines if "Paddle2ONNX]" in line or "Error" in line or "ERROR" in line]
    telling = [re.sub(r"^(\[[\w]+\])+\s*", "", line) for line in said if not line.endswith("Paddle2ONNX]")]
    text = " ".join(" ".join(telling[-4:]).split())[:400] or "it made no model and does not say why"
    return ConversionError(f"{name} cannot convert it: {text}", hint="end the model earlier: convert.outputs")


class NewConverter:
    """Paddle and paddle2onnx 2 in another interpreter."""

    def __init__(
        self, network: Network, weights: Mapping[str, Tensor], scratch: Path, emit: Emit, python: Path | None
    ) -> None:
        found = _interpreter(python)
        versions = found.versions(["paddle2onnx"])
        self.name = f"paddle2onnx {versions.get('paddle2onnx', '2')} of {found.path}"
        self._network, self._weights = network, weights
        self._folder = Path(tempfile.mkdtemp(prefix=".paddle-", dir=scratch))
        self._log = self._folder / "log"
        self._guest = interpreter.Guest(found, paddle3.MODULE, paddle3.CONVERTS, emit, self._log)
        self._operators: frozenset[str] = frozenset()

    def __enter__(self) -> NewConverter:
        self._guest.__enter__()
        self._operators = paddle3.supported(self._guest)
        return self

    def __exit__(self, *_: object) -> None:
        self._guest.__exit__(*_)
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepared(self, part: Program) -> Program:
        """As it is."""
        return part

    def takes(self, op: Operator) -> bool:
        """By its list."""
        return paddle3.registered(op) in self._operators

    def convert(self, part: Program, opset: int) -> onnx.ModelProto:
        """Convert; outputs get their names back."""
        weights = weights_file(self._weights, part, self._network, self._folder)
        path, made = self._folder / "part.json", self._folder / "part.onnx"
        path.write_bytes(self._network.bytes_of_part(part, converted=True))
        if weights is None:  # without a file it goes on, and would convert a model with weights without them too
            weights = self._folder / "part.pdiparams"
            weights.write_bytes(b"")
        opset = min(max(opset, paddle3.OPSETS[0]), paddle3.OPSETS[-1])
        try:
            size = paddle3.export(self._guest, path, weights, made, opset)
        except (ChildCrash, ConversionError):
            raise _failure(self.name, self._log) from None
        if not size:
            raise _failure(self.name, self._log)
        model = model_io.load(made)
        _rename_outputs(model, part.fetches())
        return model


def _interpreter(python: Path | None) -> interpreter.Interpreter:
    """The named one, or trtconv's own where it has what is needed."""
    try:
        return interpreter.find(python, paddle3.CONVERTS)
    except EnvironmentProblem as error:
        if python is not None:
            raise
        folder = Path("paddle-env")
        raise EnvironmentProblem(
            "programs of Paddle 3 are converted by Paddle itself, which cannot share trtconv's environment",
            hint=f"{paddle3.CONVERTS.lines(folder)}; then source.python: {folder} (--python {folder})",
        ) from error


def _rename_outputs(model: onnx.ModelProto, names: list[str]) -> None:
    """Give outputs, which stand in the order of their columns, the names of their variables."""
    found = [value.name for value in model.graph.output]
    if len(found) != len(names):
        raise ConversionError(
            f"paddle2onnx made {len(found)} outputs of {len(names)}", hint="choose others: convert.outputs"
        )
    for value, name in zip(model.graph.output, names, strict=True):
        if value.name != name:
            model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
            value.name = name
