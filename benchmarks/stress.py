"""Engines under load on a GPU: several in one process, many contexts and threads, every shape; results always right.

    python benchmarks/stress.py --seconds 600

Meanwhile engines are opened and closed, calls are broken off by Ctrl-C, and the GPU's memory is used up. Every result
is compared with ONNX Runtime's, and its bits with those of the first call for the same input. TensorRT-RTX itself keeps
host memory of every context and every engine that was there (docs/runtime.md); how much is measured in the same run,
with nothing of trtconv between, and what grows beyond that is trtconv's. Exit code 1 if anything is wrong, an error
comes that was not provoked, or memory grows.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.engines.models import conv_net, images
from trtconv import Engine
from trtconv.adapters import cuda, nvml, tensorrt
from trtconv.core import memory
from trtconv.core.errors import EnvironmentProblem, OutOfMemory
from trtconv.core.events import ignore
from trtconv.engines.run import engine as engines
from trtconv.engines.run.runner import open_onnx
from trtconv.stages.build import BuildRequest, build

BATCHES = (1, 2, 3, 5, 8, 13, 16, 21, 27, 32)
TOLERANCE = 2e-2  # of outputs of about 5, in FP16
GROWTH = 64 << 20  # bytes of device memory that may be gone in the end
HOST_GROWTH = 128 << 20  # and of the host's beyond what TensorRT-RTX keeps; Python and it hold some for what comes next


class Load:
    """Engines, their expected results, and what went wrong.

    Args:
        paths: of the plans.
        contexts: of each engine.
        api: door to the GPU.
    """

    def __init__(self, paths: list[Path], contexts: int, api: str) -> None:
        self.paths, self.contexts, self.api = paths, contexts, api
        self.engines = [Engine(path, contexts=contexts, device_api=api, backend="rtx") for path in paths]
        self.expected = {
            (path, n): open_onnx(path.with_suffix(".onnx")).run({"x": images(n)})["y"]
            for path in paths
            for n in BATCHES
        }
        self.bits: dict[tuple[int, int], bytes] = {}
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.lock = threading.Lock()

    def check(self, index: int, n: int, y: np.ndarray) -> None:
        """A result against ONNX Runtime's, and against the first one for the same input."""
        off = float(np.abs(y - self.expected[self.paths[index], n]).max())
        with self.lock:
            first = self.bits.setdefault((index, n), y.tobytes())
            if off > TOLERANCE:
                self.wrong.append(f"engine {index}, batch {n}: off by {off}")
            elif first != y.tobytes():
                self.counts["other bits than the first time"] += 1

    def call(self, seed: int) -> None:
        """One call of one of the engines, now or in the background."""
        chance = random.Random(seed)
        index, n = chance.randrange(len(self.engines)), chance.choice(BATCHES)
        try:
            engine, x = self.engines[index], images(n)
            y = engine.submit(x).result() if chance.random() < 0.3 else engine(x)
            self.check(index, n, y)
            self.counts["calls"] += 1
        except Exception as error:  # noqa: BLE001 - every one is told
            with self.lock:
                self.wrong.append(f"{type(error).__name__}: {error}")

    def reopen(self) -> None:
        """Open one more engine, run it, close it."""
        try:
            with Engine(self.paths[0], contexts=2, device_api=self.api, backend="rtx") as engine:
                self.check(0, 5, engine(images(5)))
            self.counts["opened and closed"] += 1
        except Exception as error:  # noqa: BLE001 - every one is told
            self.wrong.append(f"opening: {type(error).__name__}: {error}")

    def interrupt(self) -> None:
        """A call of the main thread that Ctrl-C breaks off; the next one must be right."""
        timer = threading.Timer(random.random() * 2e-3, signal.raise_signal, [signal.SIGINT])
        with contextlib.suppress(KeyboardInterrupt):
            try:
                timer.start()
                for _ in range(100):
                    self.engines[0](images(8))
            except KeyboardInterrupt:
                self.counts["broken off by Ctrl-C"] += 1
            finally:
                timer.join()
        self.check(0, 8, self.engines[0](images(8)))

    def exhaust(self) -> None:
        """Use up the GPU's memory; an engine that opens now says so or runs."""
        device = cuda.open_device(self.api)
        held = []
        with contextlib.suppress(OutOfMemory):
            while True:
                held.append(device.memory(1 << 30))
        with contextlib.suppress(OutOfMemory):
            while True:
                held.append(device.memory(16 << 20))
        try:
            with Engine(self.paths[0], contexts=8, device_api=self.api, backend="rtx") as engine:
                self.check(0, 32, engine(images(32)))
            self.counts["opened without memory to spare"] += 1
        except OutOfMemory:
            self.counts["out of memory, told"] += 1
        except Exception as error:  # noqa: BLE001 - every one is told
            self.wrong.append(f"without memory: {type(error).__name__}: {error}")
        finally:
            for memory in held:
                memory.close()


@contextlib.contextmanager
def opened(load: Load) -> Iterator[Load]:
    """The load, whose engines are closed in the end."""
    with contextlib.ExitStack() as stack:
        for engine in load.engines:
            stack.enter_context(engine)
        yield load


def used(api: str) -> int:
    """Bytes of device memory that this process holds; that all of them do, where NVML does not tell."""
    device = cuda.open_device(api)
    free, total = device.memory_info()
    with contextlib.suppress(EnvironmentProblem), contextlib.closing(nvml.Gpu(device.gpu.uuid)) as gpu:
        return gpu.process_memory() or total - free
    return total - free


def resident() -> int:
    """Bytes of host memory that this process holds, without what was freed."""
    memory.give_back()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Made:
    """Counts the contexts and the engines that trtconv makes from now on."""

    def __init__(self) -> None:
        self.contexts = self.engines = 0
        self._lock = threading.Lock()
        make, load = engines.Engine.context, engines.Engine.__init__

        def context(engine: engines.Engine, **options: Any) -> Any:
            with self._lock:
                self.contexts += 1
            return make(engine, **options)

        def init(engine: engines.Engine, *arguments: Any) -> None:
            with self._lock:
                self.engines += 1
            load(engine, *arguments)

        engines.Engine.context, engines.Engine.__init__ = context, init  # type: ignore[method-assign]

    def counts(self) -> tuple[int, int]:
        """Contexts and engines so far."""
        return self.contexts, self.engines


class Allocated(ctypes.Structure):
    """``struct mallinfo2`` of glibc: of all arenas."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    )


def allocated() -> int:
    """Bytes that C libraries have and did not free."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = Allocated
    found = ask()
    return int(found.uordblks + found.hblkhd)


def kept(plan: Path) -> tuple[float, float]:
    """Bytes of host memory that TensorRT-RTX keeps of a context, and of an engine with its kernels, when they are gone.

    Straight on the library: made, freed, and counted.
    """
    api: Any = tensorrt.load("rtx").api
    runtime = api.Runtime(api.Logger(api.Logger.ERROR))
    kernels = plan.with_name(plan.name + ".kernels").read_bytes()
    stays = runtime.deserialize_cuda_engine(plan.read_bytes())

    def context() -> None:
        stays.create_execution_context(stays.create_runtime_config())

    def engine() -> None:
        opened = runtime.deserialize_cuda_engine(plan.read_bytes())
        config = opened.create_runtime_config()
        cache = config.create_runtime_cache()
        cache.deserialize(kernels)
        config.set_runtime_cache(cache)
        opened.create_execution_context(config)

    one = left_by(context)
    return one, max(left_by(engine) - one, 0.0)


def left_by(work: Callable[[], None], times: int = 20) -> float:
    """Bytes that are not freed, each time."""
    for _ in range(3):
        work()
    before = allocated()
    for _ in range(times):
        work()
    return (allocated() - before) / times


def main() -> int:
    """Run it; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--contexts", type=int, default=8)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--device-api", default="cuda", choices=list(cuda.APIS))
    parser.add_argument("--no-exhaust", action="store_true", help="leave the GPU's memory to others")
    parser.add_argument("--exhaust-after", type=float, default=0.0, help="leave it to others for so many seconds")
    parser.add_argument(
        "--first",
        type=int,
        default=12000,
        help="calls before memory is watched: every context meets every shape in them",
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    folder = Path(tempfile.mkdtemp())
    paths = []
    for number in range(asked.engines):
        model = conv_net(folder / f"net{number}.onnx", half=True)
        paths.append(model.with_suffix(".engine"))
        build(BuildRequest(model, paths[-1], "fp16"), ignore)
    made = Made()
    with opened(Load(paths, asked.contexts, asked.device_api)) as load, ThreadPoolExecutor(asked.threads) as pool:
        list(pool.map(load.call, range(asked.first)))
        load.reopen()
        each, before, there, host = kept(paths[0]), used(asked.device_api), made.counts(), resident()
        work(load, pool, asked)
        gone, grown = used(asked.device_api) - before, resident() - host
        more = [now - then for now, then in zip(made.counts(), there, strict=True)]
    return judge(load, gone, grown, more, each)


def work(load: Load, pool: ThreadPoolExecutor, asked: argparse.Namespace) -> None:
    """Turns of many calls, an opening, Ctrl-C, and now and then no memory."""
    begin, size = time.monotonic(), max(asked.first // 6, 1)
    for turn in itertools.count(1):
        seeds = range(turn * size + asked.first, (turn + 1) * size + asked.first)
        calls = [pool.submit(load.call, seed) for seed in seeds]
        load.reopen()
        load.interrupt()
        for call in calls:
            call.result()
        seconds = time.monotonic() - begin
        if not asked.no_exhaust and seconds >= asked.exhaust_after and turn % 10 == 4:
            load.exhaust()
        if turn % 20 == 0:  # a run that is cut short has told something too
            print(f"{seconds:6.0f} s  {load.counts['calls']} calls, {len(load.wrong)} wrong", flush=True)
        if seconds >= asked.seconds or len(load.wrong) >= 10:
            break


def judge(load: Load, gone: int, grown: int, more: list[int], each: tuple[float, float]) -> int:
    """Tell all; 1 if anything is wrong.

    Args:
        load: what was done.
        gone: bytes of device memory.
        grown: bytes of host memory.
        more: contexts and engines that were made meanwhile.
        each: bytes of host memory that the library keeps of one.
    """
    if not load.counts["broken off by Ctrl-C"]:
        load.wrong.append("Ctrl-C broke off no call")
    for what, count in load.counts.items():
        print(f"{count:8} {what}")
    library = sum(number * size for number, size in zip(more, each, strict=True))
    beyond = grown - library
    print(
        f"{gone / 2**20:8.1f} MiB of device memory gone\n"
        f"{grown / 2**20:8.1f} MiB of the host's, of which TensorRT-RTX keeps {library / 2**20:.1f}: "
        f"{each[0] / 1024:.1f} KiB of each of {more[0]} contexts, {each[1] / 1024:.1f} KiB of each of {more[1]} engines"
        f"\n{beyond / 2**20:8.1f} MiB beyond that"
    )
    for wrong in load.wrong[:10]:
        print("wrong:", wrong)
    promised = tensorrt.load("rtx").at_least((1, 5))  # docs/runtime.md: contexts of 1.4 have bits of their own
    other = load.counts["other bits than the first time"] if promised else 0
    return int(bool(load.wrong) or gone > GROWTH or beyond > HOST_GROWTH or other > 0)


if __name__ == "__main__":
    sys.exit(main())
