"""Other weights for an engine that was built to take them, by TensorRT's own refitter."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from trtconv.adapters import cuda, tensorrt
from trtconv.adapters.tensorrt_weights_api import TrtRefitter
from trtconv.core.errors import BuildError, EnvironmentProblem
from trtconv.core.events import Emit
from trtconv.engines.build import messages, workarounds
from trtconv.engines.plan import header
from trtconv.engines.run.engine import Engine


@dataclass(frozen=True)
class Refitted:
    """An engine with other weights.

    Attributes:
        data: its bytes.
        weights: names of those that TensorRT can replace.
        runner: what did it, such as ``TensorRT 11.4.0.106 on NVIDIA L4``.
    """

    data: bytes
    weights: tuple[str, ...]
    runner: str


def refit(path: Path, model: Path, changed: Collection[str], emit: Emit) -> Refitted:
    """Load an engine, give it a model's weights, and write it anew.

    Args:
        path: the engine; it stays as it is.
        model: ONNX with the network that it was built from.
        changed: weights that have other values than the engine's.
        emit: gets warnings.

    Raises:
        EnvironmentProblem: it does not load here.
        BuildError: TensorRT cannot replace one of the weights, or fails to.
    """
    loaded = tensorrt.load(header.read(path).flavor)
    device = cuda.open_device("auto")
    try:
        engine = Engine(path, loaded, device, emit, path.read_bytes())
        try:
            return _refit(engine, model, changed)
        finally:
            engine.close()
    finally:
        device.close()


def _refit(engine: Engine, model: Path, changed: Collection[str]) -> Refitted:
    api, logger = engine.loaded.api, messages.listen(engine.loaded)[1]
    engine.forget_log()
    try:
        refitter = api.Refitter(engine.native, logger)
    except (TypeError, RuntimeError) as error:  # "factory function returned nullptr" says nothing of the cause
        raise _failure(engine, f"it takes no other weights ({error})") from error
    known = refitter.get_all_weights()
    if fixed := sorted(set(changed).difference(known)):
        more = f" and {len(fixed) - 1} more" if len(fixed) > 1 else ""
        raise BuildError(f"{engine.path}: TensorRT cannot replace {fixed[0]!r}{more}", hint="build it again")
    reader = api.OnnxParserRefitter(refitter, logger)
    content = workarounds.rewritten(model)  # what the builder was given, too
    given = reader.refit_from_file(str(model)) if content is None else reader.refit_from_bytes(content, str(model))
    if not given:
        raise _failure(engine, f"the weights of {model} are refused")
    _require_all(engine, refitter)
    if not refitter.refit_cuda_engine():
        raise _failure(engine, "the weights cannot be replaced")
    return Refitted(_written(engine), tuple(known), engine.title)


def _require_all(engine: Engine, refitter: TrtRefitter) -> None:
    if missing := refitter.get_missing_weights():
        raise BuildError(
            f"{engine.path}: TensorRT wants {len(missing)} weights that the model does not have: "
            f"{', '.join(missing[:5])}",
            hint="build it again",
        )


def _written(engine: Engine) -> bytes:
    """With its weights, and ready for others."""
    flags = engine.loaded.api.SerializationFlag
    config = engine.native.create_serialization_config()
    config.clear_flag(flags.EXCLUDE_WEIGHTS)
    config.set_flag(flags.INCLUDE_REFIT)
    data = engine.native.serialize_with_config(config)
    if data is None:
        raise _failure(engine, "the engine cannot be written")
    return bytes(memoryview(data))


def _failure(engine: Engine, what: str) -> BuildError:
    problem: EnvironmentProblem = engine.failure(what)
    return BuildError(problem.message, hint=problem.hint)
