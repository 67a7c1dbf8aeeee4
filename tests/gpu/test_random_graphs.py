"""Random graphs as engines: what the engine computes on a GPU is what strict arithmetic said it would."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.graph.test_random_graphs import ALLOWED, SEEDS, difference, drawn
from tests.networks import Arrays
from trtconv.core.errors import BuildError
from trtconv.core.events import ignore
from trtconv.core.records import ShapeRange
from trtconv.engines.run.runner import open_engine
from trtconv.graph import lowering, strict
from trtconv.stages.build import BuildRequest, build

pytestmark = pytest.mark.gpu
HALF = [(seed, precision) for seed in (*SEEDS, *range(5000, 5010)) for precision in ALLOWED]
QUANTIZED = [(seed, precision) for seed in range(6000, 6030) for precision in ("int8", "fp8")]
CELLS = HALF + QUANTIZED
WIDE = 64
"""Matrices so large that quantizing them pays."""
Cell = tuple[Path, Arrays, np.ndarray, np.ndarray | str]
"""Typed model, inputs, what FP32 computes, what the engine computes or why there is none."""


def lowered(seed: int, precision: str, folder: Path) -> tuple[Path, Arrays, np.ndarray]:
    """The typed model of a seed on the disk, its inputs, what FP32 makes of them."""
    quantized = (seed, precision) in QUANTIZED
    network, feeds, wanted, ranges = drawn(seed, WIDE) if quantized else drawn(seed)
    typed = copy.deepcopy(network)
    lowering.apply(typed, lowering.Recipe(precision), ranges, ranges if quantized else None)
    path = folder / f"{seed}.{precision}.onnx"
    onnx.save(typed, path)
    return path, feeds, wanted


def computed(typed: Path, feeds: Arrays) -> np.ndarray | str:
    """What the engine of a typed model computes, or why there is none."""
    spans = {name: ShapeRange(*[array.shape] * 3) for name, array in feeds.items() if array.ndim}
    path, precision = typed.with_suffix(".engine"), typed.suffixes[0][1:]
    try:
        build(BuildRequest(typed, path, precision, profiles=(spans,)), ignore)
    except BuildError as error:
        return str(error)
    engine = open_engine(path)
    try:
        (found,) = engine.run(feeds).values()
    finally:
        engine.close()
    return found


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], Cell]:
    """What the engine of every cell computes."""
    folder = tmp_path_factory.mktemp("random")
    models = [lowered(seed, precision, folder) for seed, precision in CELLS]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda one: computed(*one[:2]), models))
    return {cell: (*model, result) for cell, model, result in zip(CELLS, models, results, strict=True)}


@pytest.mark.parametrize(("seed", "precision"), CELLS)
def test_the_engine_is_as_near_to_fp32_as_strict_arithmetic(cells, seed: int, precision: str) -> None:
    typed, feeds, wanted, found = cells[seed, precision]
    if isinstance(found, str):
        pytest.skip(f"no engine: {found}")
    (promised,) = strict.run(onnx.load(typed), feeds).values()
    told = difference(wanted, promised)
    assert difference(wanted, found) <= max(ALLOWED.get(precision, 0), 2 * told), f"strict arithmetic said {told:.3g}"


def test_nearly_all_have_engines(cells) -> None:
    refused = {cell: found for cell, (*_, found) in cells.items() if isinstance(found, str)}
    assert len(refused) <= len(CELLS) / 10, refused
