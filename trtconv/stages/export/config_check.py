"""What Triton's message definitions do not refuse in a configuration, and the server does, or does not and should."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.stages.export.model_config import Message

_CAPABILITY = re.compile(r"\d+\.\d+")
_NAME = re.compile(r"[\w.-]+")


def require(configs: Mapping[str, Message], files: Mapping[str, Collection[str]]) -> None:
    """Refuse what would not be served as it is meant.

    Args:
        configs: of all models, by the names of their folders.
        files: of each model's version, and in its folder besides.

    Raises:
        UsageError: with everything that is wrong.
    """
    wrong = [f"{name}: {text}" for name, config in configs.items() for text in _problems(name, config, configs, files)]
    if wrong:
        raise UsageError("\n".join(["not a repository that Triton serves:", *wrong]), hint="change the export section")


def _problems(
    name: str, config: Message, configs: Mapping[str, Message], files: Mapping[str, Collection[str]]
) -> Iterator[str]:
    if config["name"] != name or not _NAME.fullmatch(name):
        yield f"the name {config['name']!r} must be that of the folder, of letters, digits, '.', '_' and '-'"
    yield from _sizes(config)
    yield from _tensors(config)
    yield from _absent(config, files.get(name, ()))
    if "ensemble_scheduling" in config:
        yield from _ensemble(config, configs)


def _sizes(config: Message) -> Iterator[str]:
    most = int(config.get("max_batch_size", 0))
    if most < 0:
        yield f"max_batch_size {most} is negative"
    batching = config.get("dynamic_batching")
    if batching is not None and not most:
        yield "dynamic_batching needs a max_batch_size"
    for size in (batching or {}).get("preferred_batch_size", []):
        if not 0 < size <= most:
            yield f"preferred_batch_size {size} is not within 1 and max_batch_size {most}"
    for warmup in config.get("model_warmup", []):
        if not 0 < warmup["batch_size"] <= max(most, 1):
            yield f"model_warmup: batch_size {warmup['batch_size']} is not within 1 and max_batch_size, or 1"
    for group in config.get("instance_group", []):
        if group.get("count", 1) < 1:
            yield f"instance_group: count {group['count']} is less than 1"


def _tensors(config: Message) -> Iterator[str]:
    for side in ("input", "output"):
        names = [tensor["name"] for tensor in config.get(side, [])]
        if not names:
            yield f"no {side}"
        for twice in sorted({one for one in names if names.count(one) > 1}):
            yield f"{side} {twice!r} is there twice"
        for tensor in config.get(side, []):
            if not tensor["dims"] or any(dim < -1 for dim in tensor["dims"]):
                yield f"{side} {tensor['name']!r}: dims {list(tensor['dims'])} are not sizes, or -1"
            if "reshape" in tensor and not tensor["reshape"]["shape"] and not config.get("max_batch_size"):
                yield f"{side} {tensor['name']!r}: reshaped to a scalar, which goes with batches only"
            if tensor.get("is_shape_tensor") and config.get("backend") != "tensorrt":
                yield f"{side} {tensor['name']!r}: is_shape_tensor is for TensorRT's own backend"


def _absent(config: Message, there: Collection[str]) -> Iterator[str]:
    named = {}
    if config.get("default_model_filename"):
        named["default_model_filename"] = config["default_model_filename"]
    for entry in config.get("cc_model_filenames", []):
        if not _CAPABILITY.fullmatch(entry["key"]):
            yield f"cc_model_filenames: {entry['key']!r} is no compute capability such as 8.6, and never chosen"
        named[f"cc_model_filenames {entry['key']}"] = entry["value"]
    for tensor in config.get("output", []):
        if tensor.get("label_filename"):
            named[f"label_filename of {tensor['name']}"] = tensor["label_filename"]
    for warmup in config.get("model_warmup", []):
        for entry in warmup["inputs"]:
            named[f"input_data_file of {entry['key']}"] = f"warmup/{entry['value']['input_data_file']}"
    for what, file in named.items():
        if file not in there and not any(one.startswith(f"{file}/") for one in there):
            yield f"{what}: no file {file}"


def _ensemble(config: Message, configs: Mapping[str, Message]) -> Iterator[str]:
    """What flows from model to model must have one type and shape."""
    known = {tensor["name"]: (_form(tensor), "the ensemble's input") for tensor in config["input"]}
    for step in config["ensemble_scheduling"]["step"]:
        model = step["model_name"]
        if model not in configs:
            yield f"step {model!r}: no such model; {did_you_mean(model, configs)}".rstrip("; ")
            continue
        if config["max_batch_size"] > configs[model]["max_batch_size"]:
            yield f"step {model!r} takes batches of {configs[model]['max_batch_size']}, the ensemble larger ones"
        yield from _taken(step, configs[model], known)
        for entry in step["output_map"]:
            made = _find(configs[model]["output"], entry["key"])
            if made is None:
                yield f"step {model!r} has no output {entry['key']!r}"
            else:
                known[entry["value"]] = (_form(made), f"step {model!r}")
    for tensor in config["output"]:
        made_as = known.get(tensor["name"])
        if made_as is None:
            yield f"output {tensor['name']!r} is made by no step"
        elif not _fits(made_as[0], _form(tensor)):
            yield f"output {tensor['name']!r} is {_form(tensor)}, and {made_as[1]} gives {made_as[0]}"


_Form = tuple[str, tuple[int, ...]]


def _taken(step: Message, model: Message, known: Mapping[str, tuple[_Form, str]]) -> Iterator[str]:
    fed = {entry["key"]: known.get(entry["value"]) for entry in step["input_map"]}
    for tensor in model["input"]:
        given = fed.pop(tensor["name"], None)
        if given is None:
            yield f"step {step['model_name']!r}: nothing to make its input {tensor['name']!r} of"
        elif not _fits(given[0], _form(tensor)):
            form = _form(tensor)
            yield f"step {step['model_name']!r}: input {tensor['name']!r} is {form}, and {given[1]} gives {given[0]}"
    for name in fed:
        yield f"step {step['model_name']!r} has no input {name!r}"


def _find(tensors: list[Any], name: str) -> Any:
    return next((tensor for tensor in tensors if tensor["name"] == name), None)


def _form(tensor: Message) -> _Form:
    return str(tensor["data_type"]), tuple(tensor["dims"])


def _fits(given: _Form, wanted: _Form) -> bool:
    same = len(given[1]) == len(wanted[1])
    return (
        given[0] == wanted[0]
        and same
        and all(-1 in pair or pair[0] == pair[1] for pair in zip(given[1], wanted[1], strict=True))
    )
