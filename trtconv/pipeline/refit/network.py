"""Proof that a model is the network that an engine was built from, before anything is done with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core import digests
from trtconv.core.errors import SourceError, UsageError
from trtconv.engines.plan.sidecar import Sidecar
from trtconv.graph import fingerprint, model_io
from trtconv.graph.fingerprint import Network


@dataclass(frozen=True)
class Same:
    """A model that is the network of an engine.

    Attributes:
        network: digests of what it is apart from its weights.
        weights_digest: of those.
        weights: their number.
        changed_names: weights with other values; all of them where the old ones are not known.
        changed: their number; None where the old ones are not known.
        other_weights: whether any has another value, as far as anybody knows.
        proof: what was compared, in sentences.
    """

    network: Mapping[str, str]
    weights_digest: str
    weights: int
    changed_names: frozenset[str]
    changed: int | None
    other_weights: bool
    proof: tuple[str, ...] = field(default=())


def require(known: Sidecar, model: Path) -> Same:
    """Refuse a model that is another network.

    Args:
        known: facts of the engine.
        model: typed ONNX.

    Raises:
        UsageError: the engine's facts do not say what it computes.
        SourceError: it is another network; with what differs.
    """
    old_file = _old(known)
    new = fingerprint.of_file(model)
    old = None if old_file is None else fingerprint.of_file(old_file)
    wanted: Mapping[str, str] = old.digests if old is not None else known.facts.get("network", {})
    if not wanted:
        raise UsageError(
            f"{known.path} does not say what network the engine computes, and the typed ONNX that it was built from is "
            "not where it was",
            hint="put that file back, or build the engine again with this trtconv",
        )
    if wrong := [kind for kind, digest in new.digests.items() if wanted.get(kind) != digest]:
        raise _another(known, model, wrong, old, new)
    return _same(known, model, new, old_file)


def _old(known: Sidecar) -> Path | None:
    """The typed ONNX that the engine was built from, if it is still the same."""
    file = known.model
    return file if file is not None and digests.of_file(file) == known.facts["model"].get("sha256") else None


def _another(known: Sidecar, model: Path, wrong: list[str], old: Network | None, new: Network) -> SourceError:
    told = fingerprint.differences(old, new) if old is not None else [f"{', '.join(wrong)} differ"]
    engine = known.path.name.removesuffix(".json")
    name = known.facts["precision"]["name"]
    lowered = f"trtconv lower MODEL -o {model.stem}.typed.onnx --precision {name}"
    hint = f"give typed ONNX made as the engine's was ({lowered})" if name != "typed" else "give the same network"
    return SourceError(
        "\n".join([f"{model} is not the network of {engine}, trained again:", *told]),
        hint=f"{hint}; another network takes another build: trtconv build",
    )


def _same(known: Sidecar, model: Path, new: Network, old_file: Path | None) -> Same:
    values = _values(model)
    before = None if old_file is None else _values(old_file)
    digest = digests.of_value([list(pair) for pair in values.items()])
    told = known.facts.get("weights") or (before and digests.of_value([list(pair) for pair in before.items()]))
    changed = None if before is None else frozenset(name for name in values if values[name] != before.get(name))
    unchanged = told == digest or digests.of_file(model) == known.facts["model"].get("sha256")
    if changed is None and unchanged:
        changed = frozenset()
    nodes, constants = len(new.kinds["nodes"]), len(new.kinds["constants"])
    return Same(
        network=new.digests,
        weights_digest=digest,
        weights=len(values),
        changed_names=frozenset(values) if changed is None else changed,
        changed=None if changed is None else len(changed),
        other_weights=not unchanged,
        proof=(
            f"the same graph: {nodes} nodes, {constants} constants that are no weights, inputs, outputs, shapes and "
            f"types; {len(values)} weights with the same names, types and shapes",
        ),
    )


def _values(model: Path) -> dict[str, str]:
    """Digest of every weight."""
    return {name: fingerprint.digest_of_weights(one) for name, one in fingerprint.weights(model_io.load(model))}
