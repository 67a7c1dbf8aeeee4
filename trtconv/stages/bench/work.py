"""A benchmark's work: settings, measurements, power, layers, comparisons."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from trtconv.core import strict_json
from trtconv.core.errors import EnvironmentProblem, Interrupted, UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.records import PartTime
from trtconv.stages.bench import batches, figures, gpu_memory, of_parts
from trtconv.stages.bench.records import BenchRequest, BenchResult, Measurement, Rival

if TYPE_CHECKING:
    import numpy as np

    from trtconv.core.input_use import Use
    from trtconv.core.interrupts import CtrlC
    from trtconv.engines.measure.power import Watch
    from trtconv.engines.measure.semantics import Limits, Query, Rules
    from trtconv.engines.measure.tune import Trial
    from trtconv.engines.run.runner import EngineRunner, Runner


class Bench:
    """One request under way."""

    def __init__(self, request: BenchRequest, runner: Runner, rules: Rules, emit: Emit, ctrl_c: CtrlC) -> None:
        self.request, self.runner, self.rules, self.emit = request, runner, rules, emit
        self.ctrl_c, self.stop = ctrl_c, ctrl_c.pressed
        self.streams = request.streams
        self.memory = gpu_memory.Seen(runner.engine) if isinstance(runner, _engine_runner()) else None
        self.notes: dict[str, None] = {}
        self.trials: list[Trial] = []
        self.counted: Sequence[Query] = ()

    def result(self, fell_back: str) -> BenchResult:
        """Everything that the request asks for; ``fell_back`` says why the engine does not run."""
        runner = self.runner
        sizes = self.request.batches or (batches.usual(runner, self.request.data),)
        feeds = {batch: self.feeds(batch) for batch in sizes}  # all of them first: a mistake costs no measurement
        rivals = [self.rival(name) for name in self.request.against]
        self.exportable(fell_back)
        if self.on_cpu:
            self.notes[
                "measured on the CPU by the host's clock, one query at a time per stream: copies, CUDA graphs, "
                "spinning and queries in flight do not apply"
            ] = None
        elif isinstance(runner, _engine_runner()):
            self.notes |= dict.fromkeys(of_parts.notes(runner))
            runner.rest()  # measurements make contexts of their own
        plan, tuned = self.tuned(feeds) if self.request.tune else (dict.fromkeys(feeds, (self.rules, self.streams)), "")
        self.ctrl_c.hold()
        measured = tuple(m for batch, feed in feeds.items() if (m := self.repeated(batch, feed, *plan[batch])))
        if not measured:
            raise Interrupted("interrupted before anything was measured")
        compared: tuple[Rival, ...] = ()
        if not self.stop.is_set():
            with self.ctrl_c.dropping():
                compared = self.compared(rivals, feeds)
        if partial := self.stop.is_set():
            self.notes["partial: interrupted before everything was measured"] = None
        else:
            self.export(next(iter(feeds.values())))
        name = next(iter(plan.values()))[0].name if self.request.tune else self.rules.name
        return BenchResult(
            runner=runner.describe(),
            fell_back=fell_back,
            semantics=name,
            measurements=measured,
            memory=gpu_memory.total(self.memory.steady) if self.memory else None,
            conditions=self.conditions(plan),
            notes=tuple(self.notes),
            memory_parts=self.memory.steady if self.memory else {},
            memory_peak=self.memory.peak if self.memory else {},
            weights=figures.weights(runner),
            rivals=compared,
            tuned=tuned,
            trials=tuple(dataclasses.asdict(trial) for trial in self.trials),
            partial=partial,
        )

    def exportable(self, fell_back: str) -> None:
        """Refuse files that only an engine on a GPU can fill, before anything is measured."""
        exports = self.request.exports
        wanted = [file for file in (exports.profile, exports.layers) if file is not None]
        of_parts.refuse_layers(self.runner, exports.layers)
        if wanted and not isinstance(self.runner, _engine_runner()):
            reason = f": {fell_back}" if fell_back else ""
            raise EnvironmentProblem(
                f"{wanted[0]}: only an engine on a GPU tells of its layers{reason}",
                hint="run it on the machine with the GPU, or leave the file out",
            )

    def export(self, feeds: dict[str, np.ndarray]) -> None:
        """Write the files that the request names."""
        from trtconv.core import files
        from trtconv.engines.measure import layers
        from trtconv.stages.bench import exports as forms

        exports = self.request.exports
        if exports.times is not None:
            files.write_text(exports.times, strict_json.dumps(forms.times(self.counted)) + "\n")
        if exports.outputs is not None:
            files.write_text(exports.outputs, strict_json.dumps(forms.outputs(self.runner.run(feeds))) + "\n")
        if isinstance(self.runner, _engine_runner()):
            if exports.profile is not None:
                timed = layers.measure(self.runner.engine, feeds)
                files.write_text(exports.profile, strict_json.dumps(forms.profile(timed)) + "\n")
            if exports.layers is not None:
                files.write_text(exports.layers, of_parts.whole(self.runner).layer_information() + "\n")

    def conditions(self, plan: Mapping[int, tuple[Rules, int]]) -> dict[str, Any]:
        """How it was measured in fact."""
        rules, streams = next(iter(plan.values()))
        if self.on_cpu:
            found = {"clock": "host", "transfers": False, "wait": "call", "depth": 1}
        else:
            found = {
                "clock": "host" if rules.wall_clock else "GPU events",
                "transfers": rules.transfers,
                "wait": "spin" if rules.spin else "sleep",
                "depth": rules.depth,
            }
        found |= {"streams": streams}
        return found | ({} if self.request.rate is None else {"rate": self.request.rate})

    @property
    def on_cpu(self) -> bool:
        """Whether ONNX Runtime runs all of it."""
        return not isinstance(self.runner, _engine_runner())

    def feeds(self, batch: int) -> dict[str, np.ndarray]:
        """Inputs of one batch: the request's samples, or random ones; the profile's values of what decides shapes."""
        from trtconv.data.feeds import open_feed
        from trtconv.engines.build import profiles
        from trtconv.engines.measure import synthetic

        runner, data = self.runner, self.request.data
        shapes = batches.shapes(runner, data, batch)
        known = profiles.optimum(runner.values, profiles.choose(runner.profiles, shapes))
        if data is None:
            self.require_values(known)
            self.tell_assumed(known, known)
            return synthetic.feeds(runner.inputs, shapes, known, self.uses())
        feed = open_feed(dataclasses.replace(data, values={**known, **data.values}), runner.inputs)
        self.tell_assumed(known, feed.assumed)
        if len(feed) < batch:
            raise UsageError(
                f"a batch of {batch} was asked for, and there are {len(feed)} samples",
                hint="measure smaller batches, or leave the data out for random inputs",
            )
        return next(feed.batches(batch))

    def uses(self) -> Mapping[str, Use]:
        """What integers of an ONNX model are for; ONNX Runtime refuses rows that a table does not have."""
        onnx = self.request.model if self.request.model.suffix.lower() == ".onnx" else self.request.fallback
        if of_parts.is_parts(self.request.model):
            return of_parts.uses(self.request.model)
        if not self.on_cpu or onnx is None:
            return {}
        from trtconv.graph import input_uses, model_io

        return input_uses.input_uses(model_io.load(onnx, weights=False, outside=False))

    def require_values(self, known: Mapping[str, Sequence[int]]) -> None:
        """An ONNX model does not say which inputs decide shapes; random numbers would give it any shapes."""
        from trtconv.core import shape_inputs

        whole = {info.name for info in self.runner.inputs if info.dtype in ("int32", "int64")}
        unknown = sorted(whole & shape_inputs.names(self.runner.inputs, known) - set(known)) if self.on_cpu else []
        if unknown:
            raise UsageError(
                f"the values of input {unknown[0]!r} may decide shapes, and nothing says them",
                hint=f"--values {unknown[0]}=MINxOPTxMAX says them, with a number for every element; so "
                "does an engine, with its .json beside it",
            )

    def tell_assumed(self, known: Mapping[str, Sequence[int]], names: Iterable[str]) -> None:
        """Values that nobody gave for this measurement."""
        self.notes |= dict.fromkeys(
            f"input {name!r} holds {list(known[name])}, the optimum of its values" for name in names
        )

    def tuned(self, feeds: Mapping[int, dict[str, np.ndarray]]) -> tuple[dict[int, tuple[Rules, int]], str]:
        """The best rules and contexts for each batch, and the best of all as YAML."""
        from trtconv.engines.measure import tune

        if not isinstance(self.runner, _engine_runner()):
            raise EnvironmentProblem(
                "--tune needs a GPU: there is nothing to tune on ONNX Runtime",
                hint="run it on the machine with the GPU",
            )
        limit = None if self.request.max_latency is None else self.request.max_latency * 1e3

        def tell(trial: Trial) -> None:
            self.trials.append(trial)
            self.emit(
                Message(
                    f"batch {trial.batch}, {trial.streams} contexts x {trial.depth} in flight, graph "
                    f"{trial.graph}: {trial.throughput:.1f}/s, p99 {trial.p99_ms:.3f} ms"
                )
            )

        look = partial(self.memory.look, trial=True) if self.memory else None
        winners = tune.search(self.runner.engine, feeds, limit, tell, look)
        best, plan = winners[0], {trial.batch: (trial.rules, trial.streams) for trial in winners}
        for batch in [batch for batch in feeds if batch not in plan]:
            self.notes[
                f"batch {batch}: no setting keeps the latency limit; measured with the best of another batch"
            ] = None
            plan[batch] = (best.rules, best.streams)
        return plan, (
            f"infer: {{batch: {best.batch}, contexts: {best.streams * best.depth}}}\n"
            f"bench: {{semantics: pipelined, batch: {best.batch}, streams: {best.streams}, "
            f"depth: {best.depth}, cuda_graph: {str(best.graph).lower()}}}\n"
        )

    def repeated(self, batch: int, feeds: dict[str, np.ndarray], rules: Rules, streams: int) -> Measurement | None:
        """The median of the repetitions; None when Ctrl-C came before any."""
        found: list[Measurement] = []
        while len(found) < self.request.repeats and not self.stop.is_set():
            if (measured := self.measurement(batch, feeds, rules, streams)) is not None:
                found.append(measured)
        if not found:
            return None
        rates = tuple(measured.throughput for measured in found)
        middle = sorted(found, key=lambda measured: measured.throughput)[len(found) // 2]
        layers: tuple[tuple[str, float], ...] = ()
        parts: tuple[PartTime, ...] = ()
        if not self.stop.is_set():
            with self.ctrl_c.dropping():
                layers = self.layers(feeds) if self.request.layers else ()
                parts = of_parts.times(self.runner, feeds)
        return dataclasses.replace(middle, repeats=rates, layers=layers, part_times=parts)

    def layers(self, feeds: dict[str, np.ndarray]) -> tuple[tuple[str, float], ...]:
        """Least milliseconds of every layer."""
        from trtconv.engines.measure import layers

        if not isinstance(self.runner, _engine_runner()):
            self.notes["times of layers need a GPU"] = None
            return ()
        return tuple((layer.name, layer.ms) for layer in layers.measure(self.runner.engine, feeds))

    def measurement(self, batch: int, feeds: dict[str, np.ndarray], rules: Rules, streams: int) -> Measurement | None:
        """One measurement, with the GPU's power and clocks; None when Ctrl-C came before the warm-up was over."""
        from trtconv.engines.measure.power import Watch
        from trtconv.engines.measure.semantics import Limits

        request = self.request
        limits = Limits(request.warmup, request.duration, request.iterations)
        engine = self.runner.engine if isinstance(self.runner, _engine_runner()) else None
        with Watch(engine.device.gpu.uuid) if engine else contextlib.nullcontext() as watch:

            def tell(seconds: float) -> None:
                if seconds == 0.0 and self.memory is not None:
                    self.memory.look()
                self.told(batch, limits, seconds)
                if watch is not None and seconds >= limits.warmup:
                    watch.begin()

            with self.random_inputs_told():
                queries, graph, partial = self.queries(feeds, rules, limits, streams, tell)
        if not queries:
            return None
        self.counted = self.counted or queries
        self.doubt(batch, queries, streams)
        measured = figures.measurement(batch, queries, request.percentiles, graph=graph)
        depth = 1 if rules.wall_clock or self.on_cpu else rules.depth
        return dataclasses.replace(
            measured, power=self.power(watch, measured), streams=streams, depth=depth, partial=partial
        )

    @contextlib.contextmanager
    def random_inputs_told(self) -> Iterator[None]:
        """Values that a model refuses may be those that nobody gave, such as the row numbers of a small table."""
        try:
            yield
        except UsageError as error:
            if self.request.data is not None:
                raise
            raise UsageError(
                error.message,
                hint=f"{error.hint}; values that nobody gave are random: give samples with "
                "--data FILE (bench.data in a job)",
            ) from error

    def queries(
        self, feeds: dict[str, np.ndarray], rules: Rules, limits: Limits, streams: int, tell: Callable[[float], None]
    ) -> tuple[Sequence[Query], bool, bool]:
        """What was measured, whether by CUDA graphs, and whether Ctrl-C cut it short."""
        from trtconv.engines.measure import closed_loop, gpu_loop

        rate = self.request.rate
        if isinstance(self.runner, _engine_runner()):
            if not rules.wall_clock:
                recorded = gpu_loop.measure(self.runner.engine, feeds, rules, limits, streams, tell, self.stop)
                if recorded.note:
                    self.notes[f"no CUDA graph: {recorded.note}"] = None
                return recorded.queries, recorded.graph, recorded.partial
            with contextlib.closing(self.runner.fork(graph=rules.graph)) as runner:
                queries, partial = closed_loop.measure(runner, feeds, limits, streams, tell, rate, self.stop)
                return queries, runner.replays, partial
        queries, partial = closed_loop.measure(self.runner, feeds, limits, streams, tell, rate, self.stop)
        return queries, False, partial

    def told(self, batch: int, limits: Limits, seconds: float) -> None:
        """Progress."""
        total = limits.warmup + limits.duration
        self.emit(Progress(f"batch {batch}", min(seconds, total), total, "s"))

    def power(self, watch: Watch | None, measured: Measurement) -> dict[str, Any]:
        """What the GPU drew, per sample too."""
        if watch is None:
            return {}
        if watch.problem:
            self.notes[f"no power, clocks or temperature: {watch.problem}"] = None
        drawn = watch.drawn()
        if drawn is None:
            return {}
        self.notes |= dict.fromkeys(drawn.notes())
        return figures.power(drawn, measured.throughput)

    def rival(self, name: str) -> tuple[str, Runner]:
        """One of ``against``, ready to run."""
        from trtconv.engines.measure import comparisons
        from trtconv.engines.plan import manifest

        request = self.request
        onnx = request.fallback or (request.model if request.model.suffix.lower() == ".onnx" else None)
        onnx = onnx or manifest.model_of(request.model)
        return name, comparisons.open_rival(name, self.runner, onnx, allow_code=request.allow_code)

    def compared(
        self, rivals: Sequence[tuple[str, Runner]], feeds: Mapping[int, dict[str, np.ndarray]]
    ) -> tuple[Rival, ...]:
        """Everybody on the same inputs, one query at a time, host to host."""
        from trtconv.engines.measure import closed_loop
        from trtconv.engines.measure.semantics import Limits

        limits = Limits(self.request.warmup, self.request.duration, self.request.iterations)
        found = []
        for batch, feed in feeds.items():
            for name, runner in [("this", self.runner), *rivals] if rivals else []:
                queries, _ = closed_loop.measure(runner, feed, limits, 1, lambda seconds: None)
                measured = figures.measurement(batch, queries, (50,), graph=False)
                found.append(
                    Rival(
                        name=name,
                        runner=runner.describe(),
                        batch=batch,
                        throughput=measured.throughput,
                        p50_ms=measured.latency_ms["p50"],
                    )
                )
        return tuple(found)

    def doubt(self, batch: int, queries: Sequence[Query], streams: int) -> None:
        """The warnings that trtexec gives, by its own thresholds."""
        from trtconv.engines.measure.statistics import variation

        compute = figures.median(queries, "compute")
        if compute is None:
            return
        if (figures.median(queries, "enqueue") or 0.0) > 0.8 * compute:
            self.notes[f"batch {batch}: enqueueing takes the host nearly as long as the GPU computes"] = None
        if any((figures.median(queries, copy) or 0.0) >= compute for copy in ("h2d", "d2h")):
            self.notes[f"batch {batch}: a copy takes longer than the computation"] = None
        if variation([query.compute or 0.0 for query in queries]) > 2.5:
            self.notes[f"batch {batch}: compute times vary by more than 2.5 %; were the clocks stable?"] = None
        if streams > 1:
            self.notes["several streams share the GPU: latencies hold for this load only"] = None


def _engine_runner() -> type[EngineRunner]:
    from trtconv.engines.run.runner import EngineRunner

    return EngineRunner
