"""Weights that stay in host memory: how many, and what that costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from trtconv.core.errors import UsageError
from trtconv.core.units import format_bytes

if TYPE_CHECKING:
    from trtconv.engines.run.engine import Engine


@dataclass(frozen=True)
class Streamed:
    """The weights of an engine that can stream them, in bytes.

    Attributes:
        streamable: all that may stay in host memory.
        budget: those that stay on the GPU.
        scratch: GPU memory for weights on their way, of each context.
    """

    streamable: int
    budget: int
    scratch: int

    @property
    def streams(self) -> bool:
        """Whether a run has weights to fetch: then it waits for them, and no CUDA graph holds it."""
        return self.budget < self.streamable


def choose(engine: Engine, wanted: str) -> Streamed:
    """Set the budget of an engine that has no context yet.

    Args:
        engine: just loaded.
        wanted: in the form of ``core.units.parse_budget``; empty: TensorRT's own choice, which streams nothing.

    Raises:
        UsageError: it was not built for this, has less to stream, or TensorRT refuses the budget.
    """
    native = engine.native
    total = native.streamable_weights_size
    if wanted and total <= 0:
        raise UsageError(
            f"{engine.path}: a budget for weights was asked for, and it was not built to stream them",
            hint="build it with build: {weight_streaming: true} (trtconv build --weight-streaming), or leave the "
            "budget out",
        )
    if wanted:
        budget = _bytes(engine, wanted, total)
        engine.forget_log()
        native.weight_streaming_budget_v2 = budget
        if native.weight_streaming_budget_v2 != budget:  # the bindings drop the answer of the setter
            refused = engine.failure(f"a budget of {format_bytes(budget)} for its weights is refused")
            raise UsageError(refused.message, hint="give another budget, or leave it out")
    return Streamed(total, native.weight_streaming_budget_v2, native.weight_streaming_scratch_memory_size)


def _bytes(engine: Engine, wanted: str, total: int) -> int:
    if wanted in ("all", "auto"):
        return total if wanted == "all" else engine.native.get_weight_streaming_automatic_budget()
    if wanted.endswith("%"):
        return int(total * float(wanted[:-1]) / 100)
    if int(wanted) > total:
        raise UsageError(
            f"{engine.path}: a budget of {format_bytes(int(wanted))} is more than the {format_bytes(total)} of weights "
            "that it can stream",
            hint=f"give at most {total}, or all",
        )
    return int(wanted)


def facts(runner: object) -> dict[str, int]:
    """Those of ``Streamed`` by name, of what runs a model; empty where no weights can be streamed."""
    found = getattr(getattr(runner, "engine", None), "weights", None)
    return asdict(found) if isinstance(found, Streamed) else {}
