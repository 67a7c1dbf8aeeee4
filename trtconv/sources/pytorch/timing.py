"""PyTorch's side of a measurement, run in an interpreter that has torch: one network, one batch, one way to run it.

A small module of ``core.interpreter``, as ``exporter`` is, which opens the network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "2")  # several networks are compiled beside each other
_THREADS = 2  # of the CPU for its part of a network that is timed on a GPU, for the same reason
_HALVES = {"fp16": "float16", "bf16": "bfloat16"}
_WARM = 5  # runs before anything is timed: compilation, choice of kernels, recording of a CUDA graph
_IN_FLIGHT = 2  # as trtexec has it

_ready: dict[str, Any] = {}
"""What is to be timed: ``torch``, ``network``, ``given`` (tensors where it runs), ``arrays``, ``outputs``, ``cuda``."""


def device(request: dict[str, Any], host: Any) -> dict[str, str]:
    """Where PyTorch would run.

    Args:
        request: ``device``: gpu or cpu.
        host: whoever asked.

    Returns:
        ``framework``, ``device`` (its name), ``uuid`` (of a GPU) and ``problem``: why it cannot be used.
    """
    torch = host.load("torch")
    told = {"framework": f"PyTorch {torch.__version__}", "device": "CPU", "uuid": "", "problem": ""}
    if request["device"] == "cpu":
        return told
    if not torch.cuda.is_available():
        built = (
            "PyTorch is built for the CPU alone" if torch.version.cuda is None else "torch.cuda.is_available() is no"
        )
        return {**told, "problem": f"no GPU that PyTorch can use: {built}"}
    found = torch.cuda.get_device_properties(0)
    return {**told, "device": str(found.name), "uuid": f"GPU-{found.uuid}"}


def prepare(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Open a network and run it until it is warm.

    Args:
        request: that of ``exporter.describe``; ``feeds``, an .npz with the arrays a0, a1, ... of the inputs ``names``;
            ``results``, an .npz to write; ``device``, ``precision``, ``compiled``, and ``graph``: whether a compiled
            network is replayed from CUDA graphs.
        host: whoever asked.

    Returns:
        ``outputs``, whose arrays a0, a1, ... in ``results`` are those of the CPU in FP32, then as it will be timed;
        ``mode`` of torch.compile; ``tf32``; ``notes``.
    """
    import numpy as np

    torch, exporter = host.load("torch"), host.beside("exporter")
    cuda = request["device"] == "gpu"
    if cuda:
        torch.set_num_threads(_THREADS)
    with np.load(request["feeds"]) as stored:
        arrays = {name: stored[f"a{number}"] for number, name in enumerate(request["names"])}
    network, names, outputs, scripted = exporter.opened(request, host)
    if scripted and request["compiled"]:
        raise host.refusal("ConversionError", "torch.compile does not compile TorchScript")
    plain = [np.ascontiguousarray(arrays[name]) for name in names]
    with exporter.quiet(), torch.no_grad():
        wanted = network(*(torch.from_numpy(array) for array in plain))
        _set_tf32(torch, on=request["precision"] == "tf32")
        network = _placed(torch, network, request["precision"], cuda)
        mode = "reduce-overhead" if cuda and request["graph"] else "default"
        timed = torch.compile(network, dynamic=False, mode=mode) if request["compiled"] else network
        given = [torch.from_numpy(array).to("cuda" if cuda else "cpu") for array in plain]
        _ready.update(torch=torch, network=timed, given=given, arrays=plain, cuda=cuda)
        _ready["marks"] = cuda and request["compiled"] and request["graph"]
        made = _warmed(torch, request, host)
    found = [exporter.array(tensor) for tensor in (*wanted, *made)]
    np.savez(request["results"], **{f"a{number}": array for number, array in enumerate(found)})
    return {
        "outputs": list(outputs),
        "mode": mode if request["compiled"] else "",
        "tf32": request["precision"] == "tf32" and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0",
        "notes": _notes(torch) if request["compiled"] else [],
    }


def measure(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Time what was prepared.

    Args:
        request: ``warmup`` and ``duration`` in seconds, ``iterations``; ``wall_clock``, ``transfers`` and ``spin`` as
            in ``engines.measure.semantics.Rules``.
        host: is told when the warm-up is over.

    Returns:
        ``times``: start, end and latency in milliseconds of every run that counts; ``memory``: most bytes that PyTorch
        took from the GPU, None without one.
    """
    torch, cuda = _ready["torch"], _ready["cuda"]

    def begun() -> None:
        host.progress("warm", 1, 1, "")

    with host.beside("exporter").quiet(), torch.no_grad():
        if cuda and not request["wall_clock"]:
            times = _by_events(torch, _with_copies(torch) if request["transfers"] else _run, request, begun)
        else:
            times = _by_the_host(torch, _host_to_host if cuda or request["wall_clock"] else _run, request, begun)
    return {"times": times, "memory": torch.cuda.max_memory_reserved() if cuda else None}


def _set_tf32(torch: Any, *, on: bool) -> None:
    """TF32 in matrix products and in convolutions."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def _placed(torch: Any, network: Any, precision: str, cuda: bool) -> Any:
    """The network where it shall run, in its type: FP32 goes in and comes out, as with an engine."""
    kind = getattr(torch, _HALVES[precision]) if precision in _HALVES else None
    network = network.to(device="cuda" if cuda else "cpu", **({} if kind is None else {"dtype": kind}))
    if kind is None:
        return network

    class Half(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.training = False

        def forward(self, *given: Any) -> Any:
            made = self.network(*(one.to(kind) if one.is_floating_point() else one for one in given))
            return tuple(one.float() if one.is_floating_point() else one for one in made)

    return Half()


def _warmed(torch: Any, request: Mapping[str, Any], host: Any) -> list[Any]:
    """The outputs, after the runs that make a network as fast as it gets."""
    made: Any = ()
    try:
        for _ in range(_WARM):
            made = _run()
        _wait(torch)
    except Exception as error:
        if hasattr(error, "kind"):  # a refusal
            raise
        what = "torch.compile fails" if request["compiled"] else "PyTorch does not run it"
        opening = host.beside("opening")
        raise host.refusal(
            "EnvironmentProblem",
            f"{what}: {opening.line(error)}",
            "torch.compile needs a C++ compiler, on a GPU Triton and a C compiler: see the log",
        ) from error
    return [one.clone() for one in made]


def _notes(torch: Any) -> list[str]:
    skips = torch._dynamo.utils.counters["inductor"].get("cudagraph_skips", 0)
    breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
    found = [f"torch.compile cut the network in {breaks + 1} pieces"] if breaks else []
    return found + (["torch.compile used no CUDA graph"] if skips else [])


def _wait(torch: Any) -> None:
    if _ready["cuda"]:
        torch.cuda.synchronize()


def _run() -> Any:
    """Once, on tensors that are where the network is."""
    if _ready["marks"]:
        _ready["torch"].compiler.cudagraph_mark_step_begin()
    return _ready["network"](*_ready["given"])


def _host_to_host() -> None:
    """Arrays in, arrays out."""
    torch, place = _ready["torch"], "cuda" if _ready["cuda"] else "cpu"
    _ready["given"] = [torch.from_numpy(array).to(place) for array in _ready["arrays"]]
    for tensor in _run():
        tensor.cpu().numpy()


def _with_copies(torch: Any) -> Callable[[], None]:
    """A run with copies from and to page-locked memory, enqueued."""
    pinned = [torch.from_numpy(array).pin_memory() for array in _ready["arrays"]]
    back = [torch.empty(one.shape, dtype=one.dtype, pin_memory=True) for one in _run()]

    def run() -> None:
        for device_side, host_side in zip(_ready["given"], pinned, strict=True):
            device_side.copy_(host_side, non_blocking=True)
        for host_side, made in zip(back, _run(), strict=True):
            host_side.copy_(made, non_blocking=True)

    return run


def _by_events(
    torch: Any, run: Callable[[], Any], request: Mapping[str, Any], begun: Callable[[], None]
) -> list[list[float]]:
    """By the GPU's clock, two runs in flight: from the start of the first kernel (or copy) to the end of the last."""
    clock, blocking = time.perf_counter, not request["spin"]
    began = clock()
    while clock() - began < request["warmup"]:
        run()
        torch.cuda.synchronize()
    begun()
    zero = torch.cuda.Event(enable_timing=True)
    zero.record()
    pairs: list[Sequence[Any]] = []
    began = clock()
    while len(pairs) < request["iterations"] or clock() - began < request["duration"]:
        pair = [torch.cuda.Event(enable_timing=True, blocking=blocking) for _ in range(2)]
        pair[0].record()
        run()
        pair[1].record()
        pairs.append(pair)
        if len(pairs) >= _IN_FLIGHT:
            pairs[-_IN_FLIGHT][1].synchronize()
    torch.cuda.synchronize()
    return [[zero.elapsed_time(a), zero.elapsed_time(b), a.elapsed_time(b)] for a, b in pairs]


def _by_the_host(
    torch: Any, run: Callable[[], Any], request: Mapping[str, Any], begun: Callable[[], None]
) -> list[list[float]]:
    """By the host's clock, one run after the other."""
    clock = time.perf_counter
    began = clock()
    while clock() - began < request["warmup"]:
        run()
        _wait(torch)
    begun()
    times: list[list[float]] = []
    began = clock()
    while len(times) < request["iterations"] or clock() - began < request["duration"]:
        start = clock()
        run()
        _wait(torch)
        end = clock()
        times.append([1e3 * (start - began), 1e3 * (end - began), 1e3 * (end - start)])
    return times
