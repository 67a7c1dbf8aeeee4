#!/usr/bin/env python3
"""How near trtconv comes to what a GPU can do: ResNet-50 FP16 on TensorRT-RTX, everything in one run.

Each figure is a ratio of two numbers of this run, or a difference with its limit; the table says both. Needs a GPU with
TensorRT-RTX and cuda-bindings; pycuda, nvidia-ml-py and Pillow for the parts that use them. The samples take 12 GB of
disk. Run from the repository's root: ``python benchmarks/gpu_runtime.py [--output FILE.json] [PART ...]``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import handwritten, resnet50
from tests.engines.models import conv_net
from tests.engines.models import images as images_of
from trtconv import Engine, __version__
from trtconv.adapters import cuda
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, ShapeRange
from trtconv.data import images, preprocess
from trtconv.engines.measure import gpu_loop, tune
from trtconv.engines.measure.semantics import RULES, Limits, Query
from trtconv.engines.run import engine as engines
from trtconv.engines.run.execution import Slot
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.replays import Execution
from trtconv.engines.run.runner import open_engine, open_onnx
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.build import BuildRequest, build
from trtconv.stages.infer import InferRequest, infer

BATCHES = (1, 32, 128)
SAMPLES, PICTURES = 20_000, 2_000
CREWS = 9
TURNS = 5
CONTEXTS, WINDOWS, WINDOW = 5, 60, 0.04  # seconds
ROWS = (
    {"resize": {"size": [256, 256], "fit": "shorter"}},
    {"crop": {"size": [224, 224]}},
    {"normalize": {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
    {"layout": {"to": "nchw"}},
)
FIRST = """
import sys, time, numpy as np
from trtconv.engines.run.runner import open_engine
x = np.ones((8, 3, 224, 224), np.float32)
begin = time.perf_counter()
runner = open_engine(__import__("pathlib").Path(sys.argv[1]))
runner.run({"x": x})
print(time.perf_counter() - begin)
runner.close()
"""


class Bench:
    """The engine, the samples, and a table that grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = resnet50.write(folder / "resnet50.onnx")
        self.engine = self.model.with_suffix(".engine")
        span = ShapeRange((1, *resnet50.IMAGE), (32, *resnet50.IMAGE), (128, *resnet50.IMAGE))
        build(BuildRequest(self.model, self.engine, "fp16", profiles=({"x": span},)), ignore)
        self.x = resnet50.images(128)
        self.rows: list[dict[str, Any]] = []
        self.tuned: dict[int, tune.Trial] = {}

    def row(self, what: str, value: float, limit: str, ok: bool, **facts: Any) -> None:
        """One figure, its limit, and the numbers behind it."""
        self.rows.append({"what": what, "value": round(value, 4), "limit": limit, "ok": bool(ok), **facts})
        told = " ".join(
            f"{name} {fact:.6g}" if isinstance(fact, float) else f"{name} {fact}" for name, fact in facts.items()
        )
        print(f"{'ok  ' if ok else 'MISS'} {what:58} {value:9.4f} {limit:9} {told}", flush=True)


def rate(queries: list[Query], batch: int) -> float:
    """Samples per second, from one query's end to another's."""
    ends = [query.end for query in queries]
    return batch * (len(ends) - 1) / ((max(ends) - min(ends)) / 1e3)


def loop(b: Bench) -> None:
    """Against the shortest loop, in turns; each has its own contexts, made anew for each turn."""
    engine = engines.load(b.engine)
    rules = {"trtexec11": {"copies": False, "graph": True}, "trtexec10": {"copies": True, "graph": False}}
    for batch in BATCHES:
        x = b.x[:batch]
        for name, options in rules.items():
            if (batch, name) == (1, "trtexec10"):
                continue  # see enqueueing
            ours, theirs = [], []
            for _ in range(3):
                with handwritten.opened(b.engine, x, **options) as hand:
                    theirs.append(hand.rate(0.5))
                found = gpu_loop.measure(engine, {"x": x}, RULES[name], _limits(0.5), 1, _quiet)
                ours.append(rate(found.queries, batch))
            ratio = median(mine / hand for mine, hand in zip(ours, theirs, strict=True))
            b.row(
                f"{name} / handwritten loop, batch {batch}",
                ratio,
                ">= 0.99",
                ratio >= 0.99,
                ours=median(ours),
                theirs=median(theirs),
                ours_all=_listed(ours),
                theirs_all=_listed(theirs),
            )
    engine.close()
    engine.device.close()


def enqueueing(b: Bench) -> None:
    """Where the host enqueues slower than the GPU runs, at batch 1 without graphs.

    What it costs to enqueue a run differs by half from one context to the next, and by a tenth from one moment to the
    next, for whoever enqueues it: so all loops use the same contexts, in turns of some forty queries. trtexec 10 takes
    six times of every query. What that costs shows beside a loop that takes none; one that takes them is what ours is
    held to.
    """
    engine, x, rules = engines.load(b.engine), b.x[:1], RULES["trtexec10"]
    rates: dict[str, list[float]] = {"ours": [], "timed": [], "plain": []}
    enqueue = []
    for _ in range(CONTEXTS):
        with gpu_loop.prepared(engine, {"x": x}, rules, 1) as ready:
            hands = {
                name: handwritten.Loop([_by_hand(*query) for query in ready.queries], 1, copies=True, times=times)
                for name, times in (("timed", True), ("plain", False))
            }
            for turn in range(WINDOWS):
                for name in rates if turn % 2 else reversed(rates):
                    if name in hands:
                        rates[name].append(hands[name].rate(WINDOW))
                    else:
                        queries = ready.measure(_limits(WINDOW), _quiet).queries
                        rates[name].append(rate(queries, 1))
                        enqueue.append(median(query.enqueue or 0.0 for query in queries))
    for name, what in (("timed", "with the same times"), ("plain", "without times")):
        ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates[name], strict=True)]
        b.row(
            f"trtexec10 / handwritten loop {what}, batch 1",
            median(ratios),
            ">= 0.99" if name == "timed" else "",
            name != "timed" or median(ratios) >= 0.99,
            ours=median(rates["ours"]),
            theirs=median(rates[name]),
            quartiles=_listed(list(np.quantile(ratios, (0.25, 0.75)))),
            turns=len(ratios),
            enqueue_ms=_listed([median(enqueue[n : n + WINDOWS]) for n in range(0, len(enqueue), WINDOWS)]),
        )
    engine.close()
    engine.device.close()


def kernels(b: Bench) -> None:
    """A second and a third context for a shape: with kernels of the first, and as bench makes them, held to a limit."""
    engine = engines.load(b.engine)
    for batch in (1, 32):
        first, first_s = _made(engine, b.x[:batch], lasting=False)
        for what, lasting in (("Engine", False), ("bench", True)):
            found, seconds = _made(engine, b.x[:batch], lasting=lasting)
            ratio = found / first
            b.row(
                f"GPU time of {what}'s later contexts / the first, batch {batch}",
                ratio,
                "<= 1.01" if lasting else "",
                not lasting or ratio <= 1.01,
                ms=found,
                first_ms=first,
                made_s=seconds,
                first_made_s=first_s,
            )
    engine.close()
    engine.device.close()


def _made(engine: engines.Engine, x: np.ndarray, *, lasting: bool) -> tuple[float, float]:
    """GPU time of a replay, the least of some means, and the seconds until the context had run once."""
    device, replays = engine.device, 200
    with ExitStack() as stack:
        began = time.perf_counter()
        slot, tray, stream = (
            stack.enter_context(closing(part))
            for part in (Slot(engine, lasting=lasting), Tray(engine), device.stream())
        )
        tray.fill({"x": x})
        slot.fit(tray, stream)
        slot.copy_in(tray, stream)
        slot.compute(stream)
        stream.synchronize()
        took = time.perf_counter() - began
        slot.compute(stream)
        stream.synchronize()
        assert not slot.capture()
        start, end = (stack.enter_context(closing(device.event())) for _ in range(2))
        means = []
        for _ in range(5):
            start.record(stream)
            for _ in range(replays):
                slot.compute(stream)
            end.record(stream)
            end.synchronize()
            means.append(end.since(start) / replays)
    return min(means), took


def _by_hand(slot: Execution, tray: Tray) -> handwritten.Query:
    assert isinstance(slot, Slot)
    parts = [tray.bytes_of(name) for name in "xy"]
    places, sizes = [slot.address(name) for name in "xy"], tuple(part.array.nbytes for part in parts)
    return handwritten.Query(slot.context, [part.address for part in parts], places, sizes)


def _limits(seconds: float) -> Limits:
    return Limits(min(0.1, seconds / 4), seconds, 10)


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def tuning(b: Bench) -> None:
    """The best settings against trtexec 10's."""
    for batch, limit in zip(BATCHES, (1.15, 1.15, 1.02), strict=True):
        plain = bench(
            BenchRequest(b.engine, batches=(batch,), semantics="trtexec10", duration=1.5), ignore
        ).measurements[0]
        result = bench(BenchRequest(b.engine, batches=(batch,), tune=True, duration=1.5), ignore)
        best = result.measurements[0]
        ratio = best.throughput / plain.throughput
        b.tuned[batch] = tune.Trial(batch, best.streams, best.depth, best.cuda_graph, best.throughput, 0.0)
        b.row(
            f"tuned / trtexec10, batch {batch}",
            ratio,
            f">= {limit}",
            ratio >= limit,
            tuned=best.throughput,
            plain=plain.throughput,
            streams=best.streams,
            depth=best.depth,
        )


def library(b: Bench) -> None:
    """A call of Engine, NumPy to NumPy, against the latency with copies; in turns."""
    calls, plain, graphs = [], [], []
    for _ in range(TURNS):
        for found, rules in ((plain, {}), (graphs, {"graph": True})):
            request = BenchRequest(b.engine, batches=(1,), semantics="trtexec10", duration=0.4, rules=rules)
            found.append(bench(request, ignore).measurements[0].latency_ms["median"])
        with Engine(b.engine) as engine:
            calls.append(_call_ms(engine, b.x[:1]))
    ratio = median(call / latency for call, latency in zip(calls, plain, strict=True))
    b.row(
        "Engine(x) / latency with copies, batch 1",
        ratio,
        "<= 1.10",
        ratio <= 1.10,
        call_ms=median(calls),
        latency_ms=median(plain),
        latency_with_graph_ms=median(graphs),
        calls=_listed(calls),
        latencies=_listed(plain),
    )


def _call_ms(engine: Engine, x: np.ndarray) -> float:
    times = []
    for _ in range(400):
        begin = time.perf_counter()
        engine(x)
        times.append((time.perf_counter() - begin) * 1e3)
    return median(times[100:])


def small(b: Bench) -> None:
    """Calls of a network that computes for some tens of microseconds, beside the shortest loop with copies."""
    model = conv_net(b.folder / "small.onnx", half=True)
    path, x = model.with_suffix(".engine"), images_of(16)
    build(BuildRequest(model, path, "fp16"), ignore)
    for threads in (1, 4):
        with ThreadPoolExecutor(threads) as pool, Engine(path, contexts=threads) as engine, ExitStack() as stack:
            ours = _latency(pool, [lambda: engine(x)] * threads)
            hands = [
                stack.enter_context(handwritten.opened(path, x, copies=True, graph=True, queries=1, spin=True))
                for _ in range(threads)
            ]
            theirs = _latency(pool, [_one_query(hand) for hand in hands])
        over = ours - theirs
        b.row(
            f"Engine(x) of a small net beyond the loop, {threads} threads, us",
            over,
            "<= 60",
            over <= 60,
            ours=ours,
            theirs=theirs,
        )


def _one_query(hand: handwritten.Loop) -> Callable[[], None]:
    (query,) = hand.queries

    def run() -> None:
        query.start()
        query.wait()

    return run


def _latency(pool: ThreadPoolExecutor, calls: list[Callable[[], Any]]) -> float:
    """Median microseconds of a call, each of them in a thread of its own at the same time."""
    together = threading.Barrier(len(calls))

    def times(call: Callable[[], Any]) -> float:
        found = []
        for _ in range(100):
            call()
        together.wait()
        for _ in range(3000):
            begin = time.perf_counter()
            call()
            found.append((time.perf_counter() - begin) * 1e6)
        return median(found[500:2500])  # all are at work then

    return median(list(pool.map(times, calls)))


def inference(b: Bench) -> None:
    """20,000 samples from a file, outputs written, against the tuned measurement."""
    path = b.folder / "samples.npy"
    samples = np.lib.format.open_memmap(path, "w+", np.float32, (SAMPLES, *resnet50.IMAGE))
    for start in range(0, SAMPLES, len(b.x)):
        samples[start : start + len(b.x)] = b.x[: min(len(b.x), SAMPLES - start)]
    del samples
    os.sync()  # else their way to the disk is in the way of the results
    for batch in (32, 128):
        _beside_tuned(b, path, batch)
    out = np.load(b.folder / "out.npz")["y"]
    same = bool(np.array_equal(out[:128].argmax(1), out[128 * 100 : 128 * 101].argmax(1))) and len(out) == SAMPLES
    b.row("results in order (equal samples, equal classes)", float(same), "== 1", same)
    path.unlink()


def _beside_tuned(b: Bench, path: Path, batch: int) -> None:
    """In turns with the tuned settings, whose GPU is the same and whose host does next to nothing."""
    best = b.tuned.get(batch) or tune.Trial(batch, 3, 2, True, 0.0, 0.0)
    contexts = best.streams * best.depth
    few = FeedSpec(path, samples=4096)
    infer(InferRequest(b.engine, few, b.folder / "out.npz", batch=batch, contexts=contexts), ignore)  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    request = InferRequest(b.engine, FeedSpec(path), b.folder / "out.npz", batch=batch, contexts=contexts)
    tuned, runs = [], []
    for _ in range(TURNS):
        tuned.append(_tuned(b, best))
        runs.append(infer(request, ignore))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = [done.samples / done.seconds for done in runs]
    ratios = [ours / theirs for ours, theirs in zip(found, tuned, strict=True)]
    b.row(
        f"infer of {SAMPLES} samples / tuned, batch {batch}",
        median(ratios),
        ">= 0.95",
        median(ratios) >= 0.95,
        infer=median(found),
        tuned=median(tuned),
        turns=_listed(ratios),
        contexts=runs[0].contexts,
        seconds=median(done.seconds for done in runs),
        preparing=median(done.preparing for done in runs),
    )
    b.row(f"host memory that infer of 20000 needs beyond 4096, batch {batch}, MiB", grown, "<= 64", grown <= 64)


def _tuned(b: Bench, best: tune.Trial) -> float:
    """Samples per second with the settings that were found, measured again."""
    engine = engines.load(b.engine)
    found = gpu_loop.measure(engine, {"x": b.x[: best.batch]}, best.rules, _limits(0.5), best.streams, _quiet).queries
    engine.close()
    engine.device.close()
    return rate(found, best.batch)


def pictures(b: Bench) -> None:
    """Photographs of 500 x 375: everything against decoding alone, by Pillow, in as many processes.

    What else lies in a process's memory decides how long that takes it, by a factor of 1.5 (benchmarks/pictures.py); so
    it is measured in many crews of processes, each with something else there, in turns with everything. The rows hold
    the medians of the turns' ratios.
    """
    folder = b.folder / "jpg"
    folder.mkdir()

    def draw(number: int) -> None:
        small = np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(small).resize((500, 375)).save(folder / f"{number:05}.jpg", quality=90)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(PICTURES)))
    request = InferRequest(
        b.engine, FeedSpec(folder, preprocess=ROWS), b.folder / "jpg.csv", batch=32, postprocess=({"topk": {"k": 3}},)
    )
    works, files = {"decoding": _decode, "decoding and preparing": _prepare}, sorted(folder.iterdir())
    rates: dict[str, list[float]] = {"infer": [], **{name: [] for name in works}}
    for number in range(CREWS):
        done = infer(request, ignore)
        rates["infer"].append(PICTURES / done.seconds)
        for name, work in works.items():
            if name == "decoding" or number < 3:  # what is not held to a limit needs fewer
                rates[name].append(PICTURES / _crew(number, done.decoders, work, files))
    for name in works:
        ratios = [ours / alone for ours, alone in zip(rates["infer"], rates[name], strict=False)]
        gated = name == "decoding"
        b.row(
            f"infer of {PICTURES} jpeg files / {name} alone",
            median(ratios),
            ">= 0.9" if gated else "",
            not gated or median(ratios) >= 0.9,
            infer=median(rates["infer"]),
            alone=median(rates[name]),
            turns=_listed(ratios),
            infers=_listed(rates["infer"]),
            crews=_listed(rates[name]),
            workers=done.decoders,
            scaled_on=done.scaled_on,
            preparing=done.preparing,
        )


def _crew(number: int, workers: int, work: Callable[[Path], None], files: list[Path]) -> float:
    """Seconds for all files in fresh processes, the median of three times after a first."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _clutter, (number,)) as pool:
        return median([_seconds(pool, work, files) for _ in range(4)][1:])


_cluttered: list[bytearray] = []


def _clutter(number: int) -> None:
    """Have what comes next lie elsewhere."""
    sizes = np.random.default_rng(number).integers(600, 60_000, 12)
    _cluttered.extend(bytearray(int(size)) for size in sizes)
    del _cluttered[::2]


def _decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _prepare(path: Path) -> None:
    chain = preprocess.prepare(ROWS)
    assert chain is not None
    chain.into(images.picture(path), np.empty(resnet50.IMAGE, np.float32))


def _seconds(pool: ProcessPoolExecutor, work: Callable[[Path], None], files: list[Path]) -> float:
    began = time.perf_counter()
    list(pool.map(work, files, chunksize=16))
    return time.perf_counter() - began


def insight(b: Bench) -> None:
    """Layers against the whole; two ways to count energy."""
    request = BenchRequest(b.engine, batches=(32,), semantics="trtexec11", warmup=1.0, duration=3.0, layers=True)
    result = bench(request, ignore)
    measured = result.measurements[0]
    total = sum(ms for _, ms in measured.layers)
    assert measured.compute_ms is not None
    off = abs(total / measured.compute_ms - 1)
    b.row(
        "sum of layers against compute, batch 32",
        off,
        "<= 0.15",
        off <= 0.15,
        layers_ms=total,
        compute_ms=measured.compute_ms,
        count=len(measured.layers),
    )
    power = measured.power
    if power.get("joules"):
        off = abs(power["joules"] / power["joules_integrated"] - 1)
        b.row(
            "energy: counter against integrated power",
            off,
            "<= 0.10",
            off <= 0.10,
            watts=power["watts"],
            millijoules_per_sample=1e3 * power["joules_per_sample"],
            sm_mhz=power["sm_mhz"],
            celsius=power["temperature"],
        )
    print("     ", result.memory_parts, *result.notes, sep=" | ")


def apis(b: Bench) -> None:
    """PyCUDA and cuda-bindings."""
    outputs: dict[str, np.ndarray] = {}
    rates: dict[str, list[float]] = {}
    for api in ("cuda", "pycuda") * 4:
        runner = open_engine(b.engine, device_api=api)
        outputs[api] = runner.run({"x": b.x[:32]})["y"]
        runner.close()
        request = BenchRequest(b.engine, batches=(32,), semantics="trtexec10", duration=0.6, device_api=api)
        rates.setdefault(api, []).append(bench(request, ignore).measurements[0].throughput)
    same = bool(np.array_equal(outputs["cuda"], outputs["pycuda"]))
    b.row("PyCUDA's outputs are cuda-bindings', bit for bit", float(same), "== 1", same)
    off = abs(max(rates["pycuda"]) / max(rates["cuda"]) - 1)
    b.row(
        "PyCUDA's throughput against cuda-bindings', batch 32",
        off,
        "<= 0.02",
        off <= 0.02,
        cuda=max(rates["cuda"]),
        pycuda=max(rates["pycuda"]),
    )


def second_start(b: Bench) -> None:
    """Time to the first result where nothing was compiled before, by TensorRT or by the driver, and once more."""
    kernels = b.engine.with_name(b.engine.name + ".kernels")
    pairs = []
    for number in range(3):
        kernels.unlink(missing_ok=True)
        env = {**os.environ, "CUDA_CACHE_PATH": str(b.folder / f"driver{number}")}
        command = [sys.executable, "-c", FIRST, str(b.engine)]
        pairs.append(
            [
                float(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)
                for _ in range(2)
            ]
        )
    first, second = (median(times) for times in zip(*pairs, strict=True))
    ratio = second / first
    b.row("second start / first start", ratio, "<= 0.35", ratio <= 0.35, first_s=first, second_s=second)


def endurance(b: Bench) -> None:
    """10,000 inferences with changing batches over four contexts."""
    reference = open_onnx(b.model)
    sizes = (1, 5, 2, 8, 3)
    with Engine(b.engine, contexts=4) as engine, ThreadPoolExecutor(4) as pool:
        device = engine._first.engine.device  # type: ignore[attr-defined]
        list(pool.map(lambda n: engine(b.x[: sizes[n % 5]]), range(400)))
        free, host = device.memory_info()[0], _resident()
        outputs = list(pool.map(lambda n: len(engine(b.x[: sizes[n % 5]])), range(10_000)))
        lost, grown = (free - device.memory_info()[0]) / 2**20, (_resident() - host) / 2**20
        expected = reference.run({"x": b.x[:8]})["y"]
        worst = max(float(np.abs(engine(b.x[:s]) - expected[:s]).max() / np.abs(expected).max()) for s in sizes)
    b.row("device memory lost in 10000 runs, MiB", lost, "<= 8", lost <= 8, runs=len(outputs))
    b.row("host memory grown in 10000 runs, MiB", grown, "<= 16", grown <= 16, threads=threading.active_count())
    b.row("largest difference from ONNX Runtime", worst, "<= 0.01", worst <= 0.01)


def rivals(b: Bench) -> None:
    """ONNX Runtime on the CPU on the same inputs; no limit."""
    result = bench(
        BenchRequest(b.engine, batches=(8,), semantics="app", duration=1.0, against=("onnxruntime",)), ignore
    )
    print("     ", *(f"{r.runner}: {r.throughput:.1f}/s" for r in result.rivals), sep=" | ")


PARTS: dict[str, Callable[[Bench], None]] = {
    "start": second_start,
    "loop": loop,
    "enqueueing": enqueueing,
    "kernels": kernels,
    "tune": tuning,
    "library": library,
    "small": small,
    "infer": inference,
    "pictures": pictures,
    "insight": insight,
    "apis": apis,
    "endurance": endurance,
    "rivals": rivals,
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args()
    print(f"trtconv {__version__}", cuda.probe())
    with tempfile.TemporaryDirectory() as folder:
        b = Bench(Path(folder))
        for part in options.parts or PARTS:
            began = time.perf_counter()
            try:
                PARTS[part](b)
            except Exception as error:  # noqa: BLE001 - the other parts are worth having
                b.row(f"{part} failed: {type(error).__name__}: {error}", 0.0, "", False)
            print(f"      {part}: {time.perf_counter() - began:.1f} s", flush=True)
    if options.output:
        options.output.write_text(json.dumps({"machine": cuda.probe(), "rows": b.rows}, indent=1))
    sys.exit(any(not row["ok"] for row in b.rows))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _quiet(_: Any) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    main()
