"""What a Paddle model holds, read without Paddle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.records import TensorInfo
from trtconv.sources.paddle import cutting, parameters, pir, program_file, upgrade
from trtconv.sources.paddle.files import Files
from trtconv.sources.paddle.parameters import Tensor
from trtconv.sources.paddle.program import DENSE_TENSOR, DTYPES, Program


@dataclass(frozen=True)
class Network:
    """What a model consists of.

    Attributes:
        files: where it lies.
        program: its operators, every variable written once.
        document: of Paddle 3, the file that the program was read from.
    """

    files: Files
    program: Program
    document: pir.Document | None = None

    def form(self) -> str:
        """What the program is, for people."""
        if self.document is not None:
            return f"Paddle 3 program (PIR {self.document.version})"
        number = self.program.version
        return f"Paddle {number // 1000000}.{number // 1000 % 1000} program" if number else "Paddle 1 program"

    def tensors(self) -> dict[str, Tensor]:
        """Where the weights lie.

        Raises:
            SourceError: missing or damaged, or of another network.
        """
        wanted = parameters.wanted(self.program.weights())
        if not wanted:
            return {}
        if self.files.weights.is_dir():
            return parameters.separate(self.files.weights, wanted)
        return parameters.combined(self.files.weights, wanted)

    def info(self, names: Sequence[str]) -> tuple[TensorInfo, ...]:
        """Name, type and shape of variables."""
        return tuple(_info(self.program, name) for name in names)

    def operators(self) -> Counter[str]:
        """How many of each there are."""
        return Counter(
            op.type for block in self.program.blocks for op in block.operators if op.type not in ("feed", "fetch")
        )

    def bytes_of_part(self, part: Program, *, converted: bool = False) -> bytes:
        """The file of a part of the program, to run it or to convert it."""
        if self.document is None:
            return program_file.write(part)
        written = pir.write(self.document, part)
        return pir.convertible(written, self.document.version) if converted else written


def _info(whole: Program, name: str) -> TensorInfo:
    variable = whole.main.variables.get(name)
    if variable is None or variable.kind != DENSE_TENSOR or variable.dtype not in DTYPES:
        raise SourceError(
            f"input or output {name!r} is no tensor that ONNX knows", hint="end the model elsewhere: convert.outputs"
        )
    dims = tuple(
        size if size >= 0 else "batch" if axis == 0 else f"{name}_dim{axis}" for axis, size in enumerate(variable.shape)
    )
    return TensorInfo(name, DTYPES[variable.dtype], dims)


def read(files: Files) -> Network:
    """The model, without its weights.

    Raises:
        SourceError: damaged or foreign, or without inputs or outputs.
    """
    data = files.program.read_bytes()
    what = str(files.program)
    document = None
    if pir.looks_like(data[: magic.HEAD]):
        document = pir.read(data, what)
        whole = document.program
    elif program_file.looks_like(data[: magic.HEAD]):
        whole = cutting.single_assignment(upgrade.full_precision(program_file.read(data, what)))
    else:
        raise SourceError(
            f"{what}: not a Paddle program; it looks like {magic.describe(files.program)}",
            hint="give __model__, a .pdmodel or a .json that Paddle saved",
        )
    for kind, names in (("inputs", whole.feeds()), ("outputs", whole.fetches())):
        if not names:
            raise SourceError(
                f"{what}: a program without {kind}: it was saved for training",
                hint="save it with paddle.jit.save or save_inference_model",
            )
    return Network(files, whole, document)
