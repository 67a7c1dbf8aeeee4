"""Scripts of the cases with TensorRT-RTX itself in place of ``tensorrt``: for its shapes, and on a GPU its numbers."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.sources.network.cases import Case


class Ended(BaseException):
    """The script came to where it builds."""


class Real:
    """What a script made of TensorRT-RTX.

    Attributes:
        builder: its builder.
        network: its network.
    """

    def __init__(self, case: Case, *, severity: str = "ERROR") -> None:
        import tensorrt_rtx as rtx

        self.builder: Any = None
        self.network: Any = None
        made, holder = self, rtx

        class Builder:
            def __init__(self, _: Any) -> None:
                made.builder = holder.Builder(holder.Logger(getattr(holder.Logger, severity)))

            def create_network(self, _: int) -> Any:
                made.network = made.builder.create_network(0)
                return made.network

            def create_builder_config(self) -> Any:
                return made.builder.create_builder_config()

            def build_serialized_network(self, *_: Any) -> None:
                raise Ended

        module = types.ModuleType("tensorrt")
        module.__dict__.update({name: value for name, value in vars(rtx).items() if not name.startswith("__")})
        module.__dict__.update(Builder=Builder, NetworkDefinitionCreationFlag=types.SimpleNamespace(EXPLICIT_BATCH=0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "tensorrt", module)
            self.scope: dict[str, Any] = {"__name__": "__main__"}  # it holds the weights that the network refers to
            with pytest.raises(Ended):
                exec(compile(case.script(), "case.py", "exec"), self.scope)

    def interface(self) -> list[tuple[tuple[int, ...], str]]:
        """Shape and type of every output."""
        outputs = [self.network.get_output(index) for index in range(self.network.num_outputs)]
        return [(tuple(tensor.shape), tensor.dtype.name) for tensor in outputs]

    def build(self, engine: Path) -> None:
        """Write the plan."""
        plan = self.builder.build_serialized_network(self.network, self.builder.create_builder_config())
        assert plan is not None, "TensorRT-RTX does not build it"
        engine.write_bytes(bytes(plan))
