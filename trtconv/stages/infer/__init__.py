"""infer: samples through an engine on a GPU, or through its typed ONNX on ONNX Runtime where no GPU can run it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.writable import require_place
from trtconv.stages.infer.records import InferRequest, InferResult

if TYPE_CHECKING:
    from trtconv.data.decoding import Decoders
    from trtconv.data.feeds import Feed
    from trtconv.data.shared_reading import SharedReading
    from trtconv.data.writers import Writer
    from trtconv.engines.run.device_preprocess import Landings
    from trtconv.engines.run.runner import Runner

_BATCH = 32  # samples per run where neither the request nor the model says
_MANY = 200  # images
_SPARE = 16  # times the memory that a process packs images into: free on a GPU that scales them


__all__ = ["InferRequest", "InferResult", "infer"]


def infer(request: InferRequest, emit: Emit) -> InferResult:
    """Run all samples and write what comes out, in the samples' order.

    Raises:
        UsageError: samples, batch size, postprocessing or output file that do not fit the model.
        SourceError: a damaged model file.
        EnvironmentProblem: the engine cannot run here, and the request allows nothing else.
    """
    from trtconv.data import writers
    from trtconv.engines.run.opening import open_runner

    writers.check(request.output)
    require_place(request.output)
    _keep_inputs(request)
    runner, fell_back = open_runner(
        request.model, request.backend, request.fallback, request.device_api, emit, loading=request.loading
    )
    try:
        if fell_back:
            emit(Message(f"ONNX Runtime runs the ONNX model instead of the engine: {fell_back}", "warning"))
        return _run(request, runner, fell_back, emit)
    finally:
        runner.close()


def _keep_inputs(request: InferRequest) -> None:
    read = (request.data.path, *request.data.names.values())
    if request.output.exists() and any(path and path.exists() and path.samefile(request.output) for path in read):
        raise UsageError(
            f"{request.output} holds the samples, and infer would write its results there", hint="write to another file"
        )


def _run(request: InferRequest, runner: Runner, fell_back: str, emit: Emit) -> InferResult:
    from trtconv.data import writers
    from trtconv.data.shared_reading import SharedReading
    from trtconv.engines.run import runner_threads, weight_streaming

    work = _Work(request, runner, emit)
    groups = list(work.feed.groups(request.batch or work.usually or _BATCH))
    usual, other = work.feed.usual(groups)
    clock = time.monotonic
    begun = clock()
    readers = _readers(work.feed, len(groups), runner)
    with (
        _decoding(work.feed, request, runner, readers, emit) as (work.decoders, work.made),
        runner_threads.workers(
            runner,
            request.contexts,
            work.shapes(groups[0]),
            usual and work.filled_up(usual),
            other and work.filled_up(other),
            readers,
            made=work.made,
        ) as team,
        SharedReading(work.feed, len(team.runners)) as work.reading,
    ):
        if work.decoders is not None:
            work.decoders.wait()
        ready = clock()
        with writers.open_writer(request.output, len(work.feed)) as writer:
            results = _InOrder(writer, work.feed, emit)
            runner_threads.in_order(team.runners, groups, work, results.take)
            if not results.samples:
                raise UsageError(f"none of the {len(work.feed)} samples can be used", hint="see the warnings above")
        done = clock()
    for name, axis in work.chain.guessed.items():
        emit(Message(f"the classes of output {name!r} are taken for {axis}; axis: says it for sure", "warning"))
    for name, count in work.chain.unclear.items():
        emit(Message(f"output {name!r} holds NaN in {count} samples; the class of NaN is -1", "warning"))
    accuracy = None if work.labels is None else 100.0 * results.right / results.samples
    scaled_on = ("GPU" if work.made else "CPU") if readers else ""
    return InferResult(
        output=request.output,
        runner=runner.describe(),
        fell_back=fell_back,
        samples=results.samples,
        seconds=done - ready,
        accuracy=accuracy,
        skipped=tuple(work.skipped),
        contexts=team.contexts,
        preparing=ready - begun,
        threads=len(team.runners),
        decoders=readers,
        scaled_on=scaled_on,
        weights=weight_streaming.facts(runner),
    )


def _readers(feed: Feed, groups: int, runner: Runner) -> int:
    """Processes to decode images in, where a GPU waits for them and there are enough for starting them to pay.

    Where they only decode, seven for eight processors: this process needs the rest.
    """
    from trtconv.engines.run.runner import EngineRunner

    if not isinstance(runner, EngineRunner) or not feed.pictures or len(feed) < _MANY:
        return 0
    processors = len(os.sched_getaffinity(0))
    return min(max(processors * 7 // 8, 1) if feed.recipe else processors, groups)


@contextlib.contextmanager
def _decoding(
    feed: Feed, request: InferRequest, runner: Runner, count: int, emit: Emit
) -> Iterator[tuple[Decoders | None, bool]]:
    """Processes that decode images, and whether a GPU makes the samples: the same ones, and it has the time."""
    from trtconv.data.decoding import decoders

    rows, example = request.data.preprocess, feed.first_file
    with contextlib.ExitStack() as stack:
        landings = stack.enter_context(_landings(feed, runner, count, emit))
        try:
            found = stack.enter_context(decoders(rows, count, example, landings))
        except EnvironmentProblem as problem:
            if landings is None:
                raise
            _stays(emit, problem)
            found, landings = stack.enter_context(decoders(rows, count, example)), None
        yield found, landings is not None


@contextlib.contextmanager
def _landings(feed: Feed, runner: Runner, count: int, emit: Emit) -> Iterator[Landings | None]:
    """Where decoded images go on a GPU that can scale them; None where the processor scales."""
    from trtconv.data import scaling
    from trtconv.engines.run.device_preprocess import Landings
    from trtconv.engines.run.runner import EngineRunner

    recipe = feed.recipe if count and isinstance(runner, EngineRunner) else None
    if recipe is None:
        yield None
        return
    assert isinstance(runner, EngineRunner)
    device = runner.engine.device
    if device.memory_info()[0] < _SPARE * count * recipe.capacity:
        yield None
        return
    try:
        found = Landings(device, scaling.ptx())
    except EnvironmentProblem as problem:
        _stays(emit, problem)
        yield None
        return
    with contextlib.closing(found):
        yield found


def _stays(emit: Emit, problem: EnvironmentProblem) -> None:
    emit(Message(f"images are scaled by the processor, not by the GPU: {problem.message}", "warning"))


@dataclass(frozen=True)
class _Done:
    """What came of some samples.

    Attributes:
        rows: their numbers, ascending, bad ones too.
        good: numbers of those that have results.
        outputs: results of the good ones.
        right: how many of them have the label's class.
    """

    rows: Sequence[int]
    good: Sequence[int]
    outputs: Mapping[str, Any]
    right: int


class _Work:
    """Samples to results, in any thread."""

    def __init__(self, request: InferRequest, runner: Runner, emit: Emit) -> None:
        from trtconv.data import postprocess, sample_axes
        from trtconv.data.feeds import open_feed
        from trtconv.engines.build import profiles

        self.strict, self.emit = request.strict, emit
        self.skipped: list[str] = []
        self.decoders: Decoders | None = None
        self.reading: SharedReading | None = None
        self.made = False
        outputs = [info.name for info in runner.outputs]
        said = request.data.batch_axes
        data = replace(
            request.data,
            values={**profiles.optimum(runner.values), **request.data.values},
            batch_axes={name: axis for name, axis in said.items() if name not in outputs},
        )
        self.feed = open_feed(data, runner.inputs, None if request.strict else self.skip)
        self.axes = self.feed.axes
        moved = any(axis != 0 for axis in self.axes.values())
        self.results = sample_axes.of_outputs(runner.outputs, runner.inputs, self.axes, said) if moved else {}
        for name in self.feed.assumed:
            emit(Message(f"input {name!r} is not given: it holds {list(data.values[name])}, the optimum of its values"))
        inputs, spans = profiles.as_samples(runner.inputs, runner.profiles, self.axes)
        self.usually = profiles.usual_batch(inputs, spans, runner.values)
        self.least = self.feed.fixed or profiles.least_batch(spans)
        self.labels = self.feed.labels()
        self.chain = postprocess.prepare(request.postprocess, outputs, allow_code=request.allow_code)

    def __call__(self, runner: Runner, rows: Any) -> _Done:
        """Read, run and postprocess one batch; bad samples are left out of it."""
        from trtconv.data import per_sample
        from trtconv.data.feeds import BadSample

        good, outputs = rows, None
        while len(good) and outputs is None:
            try:
                outputs = self.outputs(runner, good)
            except BadSample as problem:
                if self.strict:
                    raise
                self.skip(problem)
                good = good[good != problem.row]
        if outputs is None:
            return _Done(rows, (), {}, 0)
        right = 0 if self.labels is None else per_sample.right(outputs, self.labels[good])
        results = self.chain(outputs)
        per_sample.require(results, len(good))
        return _Done(rows, good, results, right)

    def outputs(self, runner: Runner, rows: Any) -> Mapping[str, Any]:
        """Of one batch; one that is too small for the model is filled up, and the results of that are dropped."""
        from trtconv.data import sample_axes
        from trtconv.engines.run.context_pool import PooledRunner

        shapes = self.shapes(rows)
        if self.made and self.decoders is not None and isinstance(runner, PooledRunner):
            outputs = runner.run_made(shapes, partial(self.feed.send, rows, decoders=self.decoders))
        else:
            outputs = runner.run_filled(shapes, partial(self.read, rows))
        more = self.least > len(rows)
        outputs = dict(outputs) | {name: sample_axes.front(outputs[name], axis) for name, axis in self.results.items()}
        return {
            name: array[: len(rows)] if more and array.shape[:1] == (self.least,) else array
            for name, array in outputs.items()
        }

    def read(self, rows: Any, into: Mapping[str, Any]) -> None:
        """Samples to arrays that may be larger: what is left repeats the first."""
        from trtconv.data import sample_axes

        if self.decoders is None and self.reading is not None:
            self.reading.read(rows, into)
        else:
            self.feed.read(rows, into, decoders=self.decoders)
        for name, axis in self.axes.items():
            samples = sample_axes.front(into[name], axis)
            samples[len(rows) :] = samples[:1]

    def shapes(self, rows: Any) -> Mapping[str, tuple[int, ...]]:
        """Of the inputs for some samples, at least as many as a run takes."""
        return self.filled_up(self.feed.shapes(rows))

    def filled_up(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes with at least as many samples as a run takes."""
        filled = {name: list(shape) for name, shape in shapes.items()}
        for name, axis in self.axes.items():
            if axis is not None:
                filled[name][axis] = max(filled[name][axis], self.least)
        return {name: tuple(shape) for name, shape in filled.items()}

    def skip(self, problem: UsageError) -> None:
        self.skipped.append(problem.message)
        self.emit(Message(f"left out: {problem.message}", "warning"))


class _InOrder:
    """Writes results in the order of the samples, whatever batches they came in."""

    def __init__(self, writer: Writer, feed: Feed, emit: Emit) -> None:
        self.writer, self.feed, self.emit = writer, feed, emit
        self.samples = self.right = self.next = 0
        self.early: dict[int, Mapping[str, Any] | None] = {}

    def take(self, done: _Done) -> None:
        self.right += done.right
        self.samples += len(done.good)
        rows = done.rows
        if rows[0] == self.next and rows[-1] - rows[0] + 1 == len(rows) and not self.early:
            self.write(done.good, done.outputs)
            self.next += len(rows)
        else:
            self.hold(done)
        self.emit(Progress("inference", self.samples, len(self.feed), "samples"))

    def hold(self, done: _Done) -> None:
        """Samples of other shapes come later: keep each until those before it are written."""
        self.early |= dict.fromkeys(map(int, done.rows))
        for place, row in enumerate(done.good):
            self.early[int(row)] = {name: array[place : place + 1] for name, array in done.outputs.items()}
        while self.next in self.early:
            outputs = self.early.pop(self.next)
            if outputs is not None:
                self.write([self.next], outputs)
            self.next += 1

    def write(self, numbers: Sequence[int], outputs: Mapping[str, Any]) -> None:
        import numpy as np

        from trtconv.data.writers import Samples

        if len(numbers):
            self.writer.add(outputs, Samples(numbers, self.feed.files(np.asarray(numbers))))
