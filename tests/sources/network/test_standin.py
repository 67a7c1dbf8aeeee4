"""The stand-in against the names of TensorRT: whatever a script may call or set is there, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trtconv.sources.network import methods, standin
from trtconv.sources.network.emit.assembly import Assembly

RECORD = Path(__file__).parents[2] / "data/trt_api/tensorrt-10.16.1.json"
ABSENT = {
    "IQuantizeLayer": {"block_shape"},  # by blocks, which INT8 is not
    "IDequantizeLayer": {"block_shape"},
    "LayerType": {
        "ATTENTION_INPUT",
        "ATTENTION_OUTPUT",
        "DIST_COLLECTIVE",
        "KV_CACHE_UPDATE",
        "MOE",
        "ROTARY_EMBEDDING",
    },
}
"""What is of layers that are refused when they are added."""
REFUSED = (
    "Loop",
    "Conditional",
    "Condition",
    "Recurrence",
    "Iterator",
    "Trip",
    "MoE",
    "KVCache",
    "Attention",
    "Dist",
    "Ragged",
    "Rotary",
    "Collective",
    "CausalMask",
    "DynamicQuantize",
)
"""Parts of the names of classes that go with them."""
OF_PLUGINS = (
    "IPlugin",
    "Plugin",
    "IDimensionExpr",
    "DimsExprs",
    "IExpr",
    "ISym",
    "SymExpr",
    "Dynamic",
    "Quick",
    "KernelLaunch",
    "SubGraph",
    "NodeIndices",
    "Weight",
    "IWeights",
)


@pytest.fixture(scope="module")
def trt() -> Any:
    return standin.tensorrt(lambda network: Assembly(network, False, True), lambda network: None)


def public(names: Any) -> set[str]:
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", ["INetworkDefinition", "ITensor", "Builder", "IBuilderConfig", "IOptimizationProfile"])
def test_members(trt: Any, name: str) -> None:
    builder = trt.Builder(trt.Logger())
    network = builder.create_network(1)
    made = {
        "INetworkDefinition": network,
        "ITensor": network.add_input("x", trt.float32, (1, 3, 8, 8)),
        "Builder": builder,
        "IBuilderConfig": builder.create_builder_config(),
        "IOptimizationProfile": builder.create_optimization_profile(),
    }[name]
    recorded = json.loads(RECORD.read_text())["classes"][name]
    assert [m for m in sorted(public(recorded)) if m not in methods.REFUSED and not hasattr(made, m)] == []


@pytest.mark.rtx(since="1.5", why="has what the stand-in has")
def test_enumerations(trt: Any) -> None:
    import tensorrt_rtx as rtx

    for name in sorted(public(dir(rtx))):
        members = getattr(getattr(rtx, name), "__members__", None)
        known = getattr(getattr(trt, name, None), "__members__", None)
        if members is None or known is None or name[0].islower():
            continue
        assert set(members) - set(known) - ABSENT.get(name, set()) == set(), name
        if name not in ("NetworkDefinitionCreationFlag", "PreviewFeature", "TacticSource"):  # RTX counts them anew
            assert {key: int(known[key]) for key in members if key in known}.items() <= {
                key: int(value) for key, value in members.items()
            }.items(), name


@pytest.mark.rtx(since="1.5", why="has what the stand-in has")
def test_top_level_names(trt: Any) -> None:
    import tensorrt_rtx as rtx

    own = {name for name in public(dir(rtx)) if isinstance(getattr(rtx, name), type) or callable(getattr(rtx, name))}
    needless = {name for name in own if any(part in name for part in REFUSED) or name.startswith(OF_PLUGINS)}
    assert sorted(name for name in own - needless if not hasattr(trt, name)) == []


GIVEN = {
    "num_output_maps": 2,
    "kernel": np.ones((2, 3, 1, 1), np.float32),
    "kernel_size": (1, 1),
    "window_size": (1, 1),
    "start": (0, 0, 0, 0),
    "shape": (1, 1, 1, 1),
    "stride": (1, 1, 1, 1),
}


@pytest.mark.rtx
def test_attributes_of_layers(trt: Any) -> None:
    import tensorrt_rtx as rtx

    network = trt.Builder(trt.Logger()).create_network(1)
    x = network.add_input("x", trt.float32, (1, 3, 8, 8))
    kinds = {"add_activation": trt.ActivationType.RELU, "add_pooling": trt.PoolingType.MAX}
    for name, method in methods.METHODS.items():
        given: list[Any] = []
        for word in (word for word in method.parameters.split() if not word.endswith("=")):
            value = GIVEN.get(word, kinds.get(name.removesuffix("_nd"), 1) if word == "type" else 1)
            given.append([x] if word.startswith("@@") else x if word.startswith("@") else value)
        layer = getattr(network, name)(*given)
        interface = layer.kind.interface
        wanted = public(dir(getattr(rtx, interface, object))) - ABSENT.get(interface, set())
        assert sorted(member for member in wanted if not hasattr(layer, member)) == [], interface
