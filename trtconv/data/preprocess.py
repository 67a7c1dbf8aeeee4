"""What happens to a sample before a model gets it: rows of a job, checked before anything runs.

    preprocess:
      - resize: {size: [256, 256], fit: shorter}
      - crop: {size: [224, 224]}
      - normalize: {scale: 0.00392156862745098, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
      - layout: {to: nchw}

A sample is [height, width, channels], as images are decoded: uint8, red first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.data import images

Dims = tuple[int | None, ...]
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma
_REQUIRED = object()


class Placing(NamedTuple):
    """What scaling makes of a sample.

    Attributes:
        height: of the whole, scaled.
        width: likewise.
        window: the part of it that is computed.
        top: of this part in the result.
        left: likewise.
    """

    height: int
    width: int
    window: images.Window
    top: int = 0
    left: int = 0


@dataclass(frozen=True)
class Operation:
    """One kind of row: its options with their defaults, what it does to a sample, and to a shape and a type.

    Those that scale take pictures too; ``place`` says what they make of a height and a width.
    """

    options: Mapping[str, object]
    apply: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]
    shape: Callable[[Dims, Mapping[str, Any]], Dims]
    to_float: bool = False
    fixes_size: bool = False
    place: Callable[[int, int, Mapping[str, Any]], Placing] | None = None


Step = tuple[Operation, Mapping[str, Any]]


class Chain:
    """Rows ready to be applied.

    Attributes:
        fixes_size: whether the result has the same height and width for all samples.
        steps: what is done, a resize and the crop after it as one.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._rows = steps
        self.steps = _joined(steps)
        self.fixes_size = any(step.fixes_size and options.get("fit") != "shorter" for step, options in steps)

    def __call__(self, sample: Any) -> np.ndarray:
        """One sample, an array or a picture, after all rows."""
        return _applied(self.steps, sample)

    def into(self, sample: Any, out: np.ndarray) -> None:
        """The same, written to an array of the result's shape and type without one in between."""
        steps, view = self.steps, out
        if steps[-1][0] is OPERATIONS["layout"]:
            view = out.transpose(1, 2, 0) if steps[-1][1]["to"] == "nchw" else out
            steps = steps[:-1]
        if steps and steps[-1][0] is OPERATIONS["normalize"]:
            _normalize_into(_applied(steps[:-1], sample), steps[-1][1], view)
        else:
            view[...] = _applied(steps, sample)

    def shape(self, shape: Dims) -> Dims:
        """Of a result; None stands for what is not known.

        Raises:
            UsageError: samples of this shape have no height, width and channels.
        """
        if len(shape) != 3:
            listed = ", ".join(map(str, shape))
            raise UsageError(
                f"preprocess works on samples of [height, width, channels], not on [{listed}]",
                hint="store such samples as the model takes them",
            )
        for operation, options in self._rows:
            shape = operation.shape(shape, options)
        return shape

    def dtype(self, dtype: np.dtype) -> np.dtype:
        """Of a result."""
        return np.dtype(np.float32) if any(step.to_float for step, _ in self._rows) else dtype


def prepare(rows: Sequence[Mapping[str, object]]) -> Chain | None:
    """Check rows; None when there are none.

    Raises:
        UsageError: an unknown operation or option, or a value that makes no sense.
    """
    if not rows:
        return None
    return Chain([_parse(row, f"preprocess row {number + 1}") for number, row in enumerate(rows)])


def _applied(steps: Sequence[Step], sample: Any) -> np.ndarray:
    for operation, options in steps:
        sample = operation.apply(sample if operation.place else images.array(sample), options)
    return images.array(sample)


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Steps, where a crop right after a resize becomes a part of it: only what stays is computed."""
    found: list[Step] = []
    for operation, options in steps:
        if operation is OPERATIONS["crop"] and found and found[-1][0] is OPERATIONS["resize"]:
            found[-1] = (_RESIZED_CROP, {"resize": found[-1][1], "crop": options})
        else:
            found.append((operation, options))
    return found


def _parse(row: Mapping[str, object], where: str) -> tuple[Operation, Mapping[str, Any]]:
    if len(row) != 1:
        raise UsageError(
            f"{where}: expected one operation, got {', '.join(row) or 'none'}",
            hint="write one operation per row, such as - crop: {size: [224, 224]}",
        )
    ((name, given),) = row.items()
    if name not in OPERATIONS:
        raise UsageError(
            f"{where}: unknown operation {name!r}; there are {', '.join(OPERATIONS)}",
            hint=did_you_mean(name, OPERATIONS),
        )
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"{where}: expected options of {name} as a mapping, got {given!r}", hint=f"{name}: {{}}")
    operation = OPERATIONS[name]
    options: dict[str, Any] = {**operation.options, **(given or {})}
    unknown = [key for key in options if key not in operation.options]
    if unknown:
        raise UsageError(
            f"{where}: {name} has no option {unknown[0]!r}; it has {', '.join(operation.options)}",
            hint=did_you_mean(str(unknown[0]), operation.options),
        )
    return operation, {key: _value(key, value, f"{where}: {name}") for key, value in options.items()}


def _value(key: str, value: Any, where: str) -> Any:
    if key in _CHOICES and value not in _CHOICES[key]:
        got = "nothing" if value is _REQUIRED else repr(value)
        raise UsageError(
            f"{where}: expected {key} as one of {', '.join(_CHOICES[key])}, got {got}",
            hint=did_you_mean(str(value), _CHOICES[key]),
        )
    if key == "size":
        whole = isinstance(value, Sequence) and len(value) == 2 and all(type(v) is int and v > 0 for v in value)
        if not whole:
            raise UsageError(f"{where}: expected size as [height, width]", hint="size: [224, 224]")
    if key in ("scale", "fill", "mean", "std"):
        numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        wrong = any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers)
        if wrong or (key == "std" and 0 in numbers):
            raise UsageError(
                f"{where}: expected {key} as a number{' other than 0' if key == 'std' else ''}, or one "
                f"per channel, got {value!r}",
                hint=f"{key}: 1.0",
            )
        return np.float32(value) if key in ("scale", "fill") else np.asarray(value, np.float32)
    return value


def _resize(sample: Any, options: Mapping[str, Any]) -> np.ndarray:
    return _scaled(sample, "resize", _place_whole(*images.shape(sample)[:2], options))


def _place_whole(high: int, wide: int, options: Mapping[str, Any]) -> Placing:
    height, width = _resized((high, wide), options)[:2]
    assert height is not None
    assert width is not None
    return Placing(height, width, (0, 0, height, width))


def _resize_and_crop(sample: Any, options: Mapping[str, Any]) -> np.ndarray:
    return _scaled(sample, "resize", _place_middle(*images.shape(sample)[:2], options))


def _place_middle(high: int, wide: int, options: Mapping[str, Any]) -> Placing:
    height, width, _, _, _ = _place_whole(high, wide, options["resize"])
    return Placing(height, width, _middle(height, width, *options["crop"]["size"]))


def _scaled(sample: Any, operation: str, placing: Placing) -> np.ndarray:
    return images.resized(_bytes(sample, operation), placing.height, placing.width, placing.window)


def _resized(shape: Dims, options: Mapping[str, Any]) -> Dims:
    height, width = options["size"]
    if options["fit"] == "stretch":
        return height, width, *shape[2:]
    if shape[0] is None or shape[1] is None:
        return None, None, *shape[2:]
    factor = max(height / shape[0], width / shape[1])  # the shorter side reaches its size
    return round(shape[0] * factor), round(shape[1] * factor), *shape[2:]


def _crop(sample: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    top, left, height, width = _middle(*sample.shape[:2], *options["size"])
    return sample[top : top + height, left : left + width]


def _middle(height: int, width: int, high: int, wide: int) -> images.Window:
    """The middle part; a sample that is too small is an error, not padded in silence."""
    if height < high or width < wide:
        raise UsageError(
            f"preprocess: crop to {high} x {wide} of a sample of {height} x {width}",
            hint="resize before: - resize: {size: [...], fit: shorter}",
        )
    return (height - high) // 2, (width - wide) // 2, high, wide


def _letterbox(sample: Any, options: Mapping[str, Any]) -> np.ndarray:
    """The whole sample in the middle of the size, with bars of the fill value."""
    high, wide, channels = images.shape(sample)
    placing = _place_box(high, wide, options)
    box = np.full((*options["size"], channels), options["fill"], np.uint8)
    across = slice(placing.left, placing.left + placing.width)
    box[placing.top : placing.top + placing.height, across] = _scaled(sample, "letterbox", placing)
    return box


def _place_box(high: int, wide: int, options: Mapping[str, Any]) -> Placing:
    height, width = options["size"]
    factor = min(height / high, width / wide)
    inner = (max(round(high * factor), 1), max(round(wide * factor), 1))
    return Placing(*inner, (0, 0, *inner), (height - inner[0]) // 2, (width - inner[1]) // 2)


def _sized(shape: Dims, options: Mapping[str, Any]) -> Dims:
    return (*options["size"], shape[2])


def _normalize(sample: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """(value x scale - mean) / std in float32, as one multiplication and one addition."""
    factor = options["scale"] / options["std"]
    result: np.ndarray = sample * factor.astype(np.float32)
    result -= options["mean"] / options["std"]
    return result


def _normalize_into(sample: np.ndarray, options: Mapping[str, Any], out: np.ndarray) -> None:
    """The same numbers, written to an array of any layout: channel by channel, each of them in one piece there."""
    channels = sample.shape[-1]
    factor = np.broadcast_to((options["scale"] / options["std"]).astype(np.float32), channels)
    offset = np.broadcast_to((options["mean"] / options["std"]).astype(np.float32), channels)
    for channel in range(channels):
        target = out[..., channel]
        np.multiply(sample[..., channel], factor[channel], out=target)
        target -= offset[channel]


def _layout(sample: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    return sample.transpose(2, 0, 1) if options["to"] == "nchw" else sample


def _laid_out(shape: Dims, options: Mapping[str, Any]) -> Dims:
    return (shape[2], shape[0], shape[1]) if options["to"] == "nchw" else shape


def _channels(sample: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    if options["to"] == "bgr":
        return sample[..., ::-1]
    if options["to"] == "gray" and sample.shape[-1] == 3:
        gray = sample.astype(np.float32) @ _GRAY
        return (np.rint(gray).astype(sample.dtype) if sample.dtype == np.uint8 else gray)[..., None]
    return sample


def _bytes(sample: Any, operation: str) -> Any:
    if isinstance(sample, np.ndarray) and sample.dtype != np.uint8:
        raise UsageError(
            f"preprocess: {operation} scales 8-bit samples, not {sample.dtype}",
            hint=f"put {operation} before normalize",
        )
    return sample


_CHOICES = {"fit": ("stretch", "shorter"), "to": ("nchw", "nhwc", "rgb", "bgr", "gray")}

OPERATIONS: Mapping[str, Operation] = {
    "resize": Operation({"size": _REQUIRED, "fit": "stretch"}, _resize, _resized, fixes_size=True, place=_place_whole),
    "crop": Operation({"size": _REQUIRED}, _crop, _sized, fixes_size=True),
    "letterbox": Operation({"size": _REQUIRED, "fill": 114}, _letterbox, _sized, fixes_size=True, place=_place_box),
    "normalize": Operation({"scale": 1.0, "mean": 0.0, "std": 1.0}, _normalize, lambda shape, _: shape, to_float=True),
    "layout": Operation({"to": _REQUIRED}, _layout, _laid_out),
    "channels": Operation({"to": _REQUIRED}, _channels, lambda s, o: (*s[:2], 1) if o["to"] == "gray" else s),
}
"""Operations by name."""

_RESIZED_CROP = Operation({}, _resize_and_crop, _sized, fixes_size=True, place=_place_middle)
