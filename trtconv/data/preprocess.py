"""What happens to a sample before a model gets it: rows of a job, checked as a chain before anything runs.

    preprocess:
      - resize: {size: [256, 256], fit: shorter}
      - crop: {size: [224, 224]}
      - normalize: {scale: 0.00392156862745098, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
      - layout: {to: nchw}

A sample begins as [height, width, channels], as images are decoded: uint8, red first. Every row knows where its axes
are by then: rows after ``layout`` do the same as before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.data import images, preprocess_rows, resampling
from trtconv.data.casting import is_float
from trtconv.data.conventions import Convention
from trtconv.data.resampling import Placing

Dims = tuple[int | None, ...]
Options = Mapping[str, Any]
_GRAY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_GRAY_BYTES = np.array([19595, 38470, 7471], np.uint32)  # the same in parts of 2^16, as Pillow and torchvision have it
_MOST_CHANNELS = 4  # of an image; what has more has its axes in another order, most likely


@dataclass(frozen=True)
class Form:
    """What is known of a sample at some place of a chain.

    Attributes:
        height: None where only the sample itself tells.
        width: likewise.
        channels: how many.
        dtype: of the values.
        first: whether the channels are the first axis, not the last.
        swapped: whether blue comes first.
    """

    height: int | None
    width: int | None
    channels: int
    dtype: np.dtype
    first: bool = False
    swapped: bool = False

    @property
    def shape(self) -> Dims:
        """Its axes in their order."""
        size = (self.height, self.width)
        return (self.channels, *size) if self.first else (*size, self.channels)


@dataclass(frozen=True)
class Operation:
    """One kind of row: what it makes of a form, and of a sample [height, width, channels].

    Those that scale take pictures too.
    """

    form: Callable[[Form, Options], Form]
    apply: Callable[[Any, Options], np.ndarray]
    fixes_size: bool = False
    scales: bool = False


@dataclass(frozen=True)
class Step:
    """A row ready to be applied.

    Attributes:
        name: of its operation.
        options: with defaults filled in.
        where: the row, for messages.
        crop: options of the crop right after a resize, which is done as one: only what stays is computed.
    """

    name: str
    options: Options
    where: str
    crop: Options | None = None

    @property
    def operation(self) -> Operation:
        """What it does."""
        return OPERATIONS[self.name]

    @property
    def by_pillow(self) -> bool:
        """Whether it scales a whole picture, as Pillow does."""
        return self.operation.scales and resampling.antialias(self.options) and self.options["like"] != Convention.KERAS

    def place(self, height: int, width: int) -> Placing:
        """What scaling as Pillow does makes of a height and a width.

        Raises:
            UsageError: it is too small for the crop.
        """
        if self.name == "letterbox":
            return resampling.place_box(height, width, self.options)
        high, wide = self.options["size"]
        if self.options["fit"] == "shorter":
            high, wide = resampling.covering(height, width, self.options)
        window = (0, 0, high, wide) if self.crop is None else resampling.middle(high, wide, self.crop)
        return Placing(high, wide, window)

    def __call__(self, sample: Any) -> np.ndarray:
        """A sample or a picture after this row."""
        if self.crop is None:
            return self.operation.apply(sample if self.operation.scales else images.array(sample), self.options)
        if not self.by_pillow or images.shape(sample)[2] not in (1, 3):
            return _crop(resampling.resize(sample, self.options), self.crop)
        placing = self.place(*images.shape(sample)[:2])
        return images.resized(sample, placing.height, placing.width, placing.window)


class Chain:
    """Rows ready to be applied.

    Attributes:
        fixes_size: whether the result has the same height and width for all samples.
        rows: as they were given; those on channels know in which order these are by then.
        steps: what is done to a sample [height, width, channels], a resize and the crop after it as one.
        first: whether the result has its channels first: an order of axes, which costs nothing before the end.
    """

    def __init__(self, rows: Sequence[Step]) -> None:
        self.rows = _with_orders(rows)
        self.steps = _joined([row for row in self.rows if row.name != "layout"])
        self.fixes_size = any(row.operation.fixes_size and row.options.get("fit") != "shorter" for row in rows)
        self.first = next((row.options["to"] == "nchw" for row in reversed(rows) if row.name == "layout"), False)

    def __call__(self, sample: Any) -> np.ndarray:
        """One sample, an array or a picture, after all rows."""
        made = _applied(self.steps, sample)
        return made.transpose(2, 0, 1) if self.first else made

    def into(self, sample: Any, out: np.ndarray) -> None:
        """The same, written to an array of the result's shape and type without one in between."""
        view = out.transpose(1, 2, 0) if self.first else out
        if self.steps and self.steps[-1].name == "normalize":
            _normalize_into(_applied(self.steps[:-1], sample), self.steps[-1].options, view)
        else:
            view[...] = _applied(self.steps, sample)

    def form(self, shape: Dims, dtype: np.dtype) -> Form:
        """Of a result; None stands for what is not known.

        Raises:
            UsageError: samples of this shape and type cannot go through a row.
        """
        *_, (_, last) = self.forms(shape, dtype)
        return last

    def forms(self, shape: Dims, dtype: np.dtype) -> Iterator[tuple[str, Form]]:
        """The form of a sample as it comes, then after each row, with the row's name.

        Raises:
            UsageError: see ``form``.
        """
        if len(shape) != 3 or shape[2] is None:
            listed = ", ".join(map(str, shape))
            raise UsageError(
                f"preprocess works on samples of [height, width, channels], not on [{listed}]",
                hint="store such samples as the model takes them",
            )
        form = Form(shape[0], shape[1], shape[2], dtype)
        yield "sample", form
        for row in self.rows:
            with preprocess_rows.named(row.where, row.name):
                form = row.operation.form(form, row.options)
            yield row.name, form

    def traced(self, sample: Any) -> Iterator[tuple[str, np.ndarray]]:
        """One sample as it comes, then after each row, as its axes are by then."""
        made, first = images.array(sample), False
        yield "sample", made
        for row in self.rows:
            made = made if row.name == "layout" else images.array(row(made))
            first = row.options["to"] == "nchw" if row.name == "layout" else first
            yield row.name, made.transpose(2, 0, 1) if first else made


def prepare(rows: Sequence[Mapping[str, object]]) -> Chain | None:
    """Check rows; None when there are none.

    Raises:
        UsageError: an unknown operation or option, or a value that makes no sense.
    """
    if not rows:
        return None
    parsed = [(*preprocess_rows.parse(row, where), where) for row, where in preprocess_rows.places(rows)]
    return Chain([Step(name, _with_arrays(options), where) for name, options, where in parsed])


def _with_arrays(options: Options) -> Options:
    """Numbers per channel as arrays; one for all of them has no axis."""
    return {
        key: np.array(value if len(value) > 1 else value[0], np.float32) if isinstance(value, tuple) else value
        for key, value in options.items()
    }


def _with_orders(rows: Sequence[Step]) -> list[Step]:
    """Rows on channels learn in which order these are by then."""
    found, swapped = [], False
    for row in rows:
        if row.name == "channels":
            row = replace(row, options={**row.options, "swapped": swapped})
            swapped = row.options["to"] == "bgr"
        found.append(row)
    return found


def _joined(rows: Sequence[Step]) -> list[Step]:
    found: list[Step] = []
    for row in rows:
        if row.name == "crop" and found and found[-1].name == "resize" and found[-1].crop is None:
            found[-1] = replace(found[-1], crop=row.options)
        else:
            found.append(row)
    return found


def _applied(steps: Sequence[Step], sample: Any) -> np.ndarray:
    for step in steps:
        sample = step(sample)
    return images.array(sample)


def _image(form: Form, what: str) -> None:
    """Refuse what cannot be scaled or cut."""
    if form.channels > _MOST_CHANNELS:
        raise UsageError(
            f"a sample of [{', '.join(map(str, form.shape))}] would have {form.channels} channels",
            hint="store samples as [height, width, channels]; layout: {to: nchw} brings the channels to the front",
        )
    if what != "crop" and form.dtype != np.uint8:
        raise UsageError(f"it scales 8-bit samples, not {form.dtype}", hint=f"put {what} before normalize")


def _resize_form(form: Form, options: Options) -> Form:
    _image(form, "resize")
    height, width = options["size"]
    if options["fit"] == "shorter":
        if form.height is None or form.width is None:
            return replace(form, height=None, width=None)
        height, width = resampling.covering(form.height, form.width, options)
    return replace(form, height=height, width=width)


def _crop_form(form: Form, options: Options) -> Form:
    _image(form, "crop")
    height, width = options["size"]
    resampling.middle(
        height if form.height is None else form.height, width if form.width is None else form.width, options
    )
    return replace(form, height=height, width=width)


def _letterbox_form(form: Form, options: Options) -> Form:
    _image(form, "letterbox")
    _one_or_each(form, fill=options["fill"])
    height, width = options["size"]
    return replace(form, height=height, width=width)


def _normalize_form(form: Form, options: Options) -> Form:
    _one_or_each(form, **{name: options[name] for name in ("scale", "mean", "std")})
    return replace(form, dtype=np.dtype(np.float32))


def _one_or_each(form: Form, **options: np.ndarray) -> None:
    for name, values in options.items():
        if values.size not in (1, form.channels):
            raise UsageError(
                f"{name} has {values.size} numbers, and the sample {form.channels} channels",
                hint=f"give one number for all channels, or {form.channels}",
            )


def _channels_form(form: Form, options: Options) -> Form:
    if form.channels not in (1, 3):
        raise UsageError(f"it takes samples of 1 or 3 channels, not {form.channels}", hint="leave it out")
    gray = options["to"] == "gray"
    return replace(form, channels=1 if gray else 3, swapped=options["to"] == "bgr")


def _crop(sample: np.ndarray, options: Options) -> np.ndarray:
    top, left, height, width = resampling.middle(sample.shape[0], sample.shape[1], options)
    return sample[top : top + height, left : left + width]


def linear(options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset, in float32: (value x scale - mean) / std as one multiplication and one subtraction."""
    return (options["scale"] / options["std"]).astype(np.float32), options["mean"] / options["std"]


def _normalize(sample: np.ndarray, options: Options) -> np.ndarray:
    factor, offset = linear(options)
    result: np.ndarray = sample.astype(np.float32, copy=False) * factor
    result -= offset
    return result


def _normalize_into(sample: np.ndarray, options: Options, out: np.ndarray) -> None:
    """The same numbers, written to an array of any layout: channel by channel, each of them in one piece there."""
    channels = sample.shape[-1]
    factor, offset = (np.broadcast_to(values, channels) for values in linear(options))
    for channel in range(channels):
        target = out[..., channel]
        np.multiply(sample[..., channel], factor[channel], out=target, dtype=np.float32, casting="unsafe")
        target -= offset[channel]


def _channels(sample: np.ndarray, options: Options) -> np.ndarray:
    to, single = options["to"], sample.shape[-1] == 1
    if to == "gray":
        return sample if single else _gray(sample, slice(None, None, -1 if options["swapped"] else 1))
    if single:
        return np.repeat(sample, 3, axis=-1)
    return sample[..., ::-1] if (to == "bgr") != options["swapped"] else sample


def _gray(sample: np.ndarray, order: slice) -> np.ndarray:
    """Luma in the sample's own type; whole numbers are rounded."""
    if sample.dtype == np.uint8:
        total = sum(sample[..., channel] * weight for channel, weight in enumerate(_GRAY_BYTES[order]))
        return (np.asarray(total) + (1 << 15) >> 16).astype(np.uint8)[..., None]
    kind = np.float32 if is_float(sample.dtype) else np.float64
    luma = sample.astype(kind) @ _GRAY[order].astype(kind)
    made: np.ndarray = (luma if is_float(sample.dtype) else np.rint(luma)).astype(sample.dtype)[..., None]
    return made


OPERATIONS: Mapping[str, Operation] = {
    "resize": Operation(_resize_form, resampling.resize, fixes_size=True, scales=True),
    "crop": Operation(_crop_form, _crop, fixes_size=True),
    "letterbox": Operation(_letterbox_form, resampling.letterbox, fixes_size=True, scales=True),
    "normalize": Operation(_normalize_form, _normalize),
    "layout": Operation(lambda form, options: replace(form, first=options["to"] == "nchw"), lambda sample, _: sample),
    "channels": Operation(_channels_form, _channels),
}
"""Operations by name; their options are in ``preprocess_rows``."""
