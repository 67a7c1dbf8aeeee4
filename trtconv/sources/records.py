"""What the wings of sources are asked, and what they answer: planning a job takes none of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trtconv.core.input_use import Use
from trtconv.core.records import InputSpec, Precision, SourceSpec, TensorInfo

if TYPE_CHECKING:
    import numpy as np


class Model(Protocol):
    """A trained model in its own framework.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise; named as in the ONNX model that it converts to.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""

    def framework(self) -> str:
        """What runs it, with its version."""


@dataclass(frozen=True)
class Tensors:
    """Inputs and outputs that belong together.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
        signature: by which name they are chosen; empty: the only ones.
        caption: above them in a text.
        outputs_are: what to call an output, such as ``candidate`` where nothing says which are meant.
    """

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    signature: str = ""
    caption: str = ""
    outputs_are: str = "output"


@dataclass(frozen=True)
class Description:
    """What a model holds, read without its framework.

    Attributes:
        title: such as ``ONNX, IR 8, opset ai.onnx 17``.
        counts: operators, or layers, by kind.
        facts: JSON-like values that only this format has.
        tensors: inputs and outputs; empty where they cannot be told.
        counted: what ``counts`` counts.
    """

    title: str
    counts: Counter[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    tensors: Sequence[Tensors] = ()
    counted: str = "nodes"


@dataclass(frozen=True)
class Wanted:
    """The ONNX model that is asked for.

    Attributes:
        source: the model.
        inputs: shapes and layouts; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        opset: of the standard operators.
        scratch: a folder with room for the weights.
    """

    source: SourceSpec
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    opset: int
    scratch: Path

    @property
    def first(self) -> frozenset[str]:
        """Inputs that the model takes channels first although the source does not."""
        return frozenset(spec.name for spec in self.inputs if spec.layout == "nchw")


def _no_trace() -> None:
    """Nothing is held."""


@dataclass
class Converted:
    """What a source became, and what its check needs.

    Attributes:
        model: the ONNX model as converted, every node named and every operator of ONNX or of a plugin.
        source: opens the source as something that runs; it may be asked several times.
        done: lets go of what that took, before the result is run.
        sample: .npz with what ``conversion_check.observe`` found, where the source has run already.
        first: inputs that the model takes channels first.
        unchecked: why the two cannot be compared.
        precision: how exactly the source computes.
        uses: what its inputs are used for, by name; None: as the model says.
        nodes: operators of the source's nodes, by name.
        nodes_of: whose nodes those are, such as ``TensorFlow``.
        left_out: operators of the source that the model ends before, with their number.
        own: whether the model is the source's own file, not made by a converter.
        composed: a sentence per operator that was written with ONNX's own.
        file: the source's own ONNX file; None: it is of another format.
    """

    model: Any
    source: Callable[[], Model]
    sample: Path | None = None
    first: frozenset[str] = frozenset()
    unchecked: str = ""
    precision: Precision = field(default_factory=Precision)
    uses: Mapping[str, Use] | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    nodes_of: str = ""
    left_out: tuple[str, ...] = ()
    own: bool = False
    composed: tuple[str, ...] = ()
    done: Callable[[], None] = _no_trace
    file: Path | None = None


@dataclass(frozen=True)
class Asks:
    """What a source asks for beyond its model.

    Attributes:
        job: keys of a job, but for the source's own.
        remarks: what has no key, in sentences.
        cache: a calibration cache that comes with it, as text, for ``calibrate.cache``; empty: none.
    """

    job: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    cache: str = ""


@dataclass(frozen=True)
class Way:
    """How a framework runs a network.

    Attributes:
        name: one of ``Format.rivals``.
        precision: as of an engine.
        device: ``gpu`` or ``cpu``.
        graph: whether CUDA graphs may be replayed, where the framework has them.
    """

    name: str
    precision: str
    device: str
    graph: bool


@dataclass(frozen=True)
class Prepared:
    """A network that is warm.

    Attributes:
        wanted: its outputs on the CPU in FP32.
        made: its outputs as it will be timed.
        conditions: ``mode`` of a compiler, ``tf32``.
        notes: what a reader of the times must know.
    """

    wanted: Mapping[str, np.ndarray]
    made: Mapping[str, np.ndarray]
    conditions: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Timed(Protocol):
    """A network in a framework, to be timed in a process of its own.

    Attributes:
        framework: with its version.
        device: name of what runs it.
        uuid: of a GPU; empty for a CPU.
        problem: why it cannot run there; empty when it can.
    """

    framework: str
    device: str
    uuid: str
    problem: str

    def look(self) -> None:
        """Load the framework, and fill these in."""

    def lacks(self, precision: str) -> str:
        """Why the framework has no form of the network in a precision; empty where it has."""

    def prepare(self, way: Way, feeds: Mapping[str, np.ndarray]) -> Prepared:
        """Open it, and run it until it is warm; another thread may prepare another one."""

    def measure(
        self, rules: Mapping[str, bool], limits: tuple[float, float, int], begun: Callable[[], None]
    ) -> tuple[list[tuple[float, float, float]], int | None]:
        """Start, end and latency in milliseconds of each run that counts, and the bytes of GPU memory that it took."""

    def close(self) -> None:
        """End the process."""
