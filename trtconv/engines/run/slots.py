"""What makes one query of a model on the GPU, be it one engine or several that run as one."""

from __future__ import annotations

from trtconv.engines.run.engine import Engine
from trtconv.engines.run.execution import Slot
from trtconv.engines.run.parts_engine import PartsEngine
from trtconv.engines.run.parts_execution import PartsSlot
from trtconv.engines.run.replays import Execution

OnGpu = Engine | PartsEngine
"""A model on a GPU."""


def slot_of(engine: OnGpu, *, general: bool = False, lasting: bool = False) -> Execution:
    """Contexts and device memory for one query at a time.

    Args:
        engine: the model.
        general: whether one set of kernels serves all shapes (see ``Engine.context``).
        lasting: whether it will have one shape for long (likewise).

    Raises:
        EnvironmentProblem: not enough GPU memory.
    """
    if isinstance(engine, PartsEngine):
        return PartsSlot(engine, general=general, lasting=lasting)
    return Slot(engine, general=general, lasting=lasting)
