"""One candidate beside the reference over all samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Progress
from trtconv.stages.verify.records import Verdict, VerifyRequest


def open_model(path: Path) -> Any:
    """What runs a model: engines on the GPU, or ONNX Runtime; strictly where types ask for it.

    A model in parts runs there as ONNX where no GPU can run its engines; the runner says so.
    """
    from trtconv.engines import open_engine, open_onnx, open_parts
    from trtconv.engines.plan import manifest

    if manifest.is_parts(path):
        return open_parts(path)
    return open_onnx(path) if path.suffix.lower() == ".onnx" else open_engine(path)


class Race:
    """One candidate against the reference over all samples."""

    def __init__(self, request: VerifyRequest, label: str, runner: Any, emit: Emit) -> None:
        from trtconv.data.feeds import open_feed
        from trtconv.engines.build import profiles

        self.request, self.label, self.runner, self.emit = request, label, runner, emit
        data = replace(request.data, values={**profiles.optimum(runner.values), **request.data.values})
        self.feed = open_feed(data, runner.inputs)
        self.samples = len(self.feed)
        self.truth = self.feed.labels()
        self.meters: dict[str, Any] = {}
        self.right = self.reference_right = self.agreeing = self.classified = 0

    @property
    def reference_top1(self) -> float | None:
        """Per cent of the reference's own classes that are right; None without labels."""
        return self._share(self.reference_right) if self.truth is not None else None

    def verdict(self) -> Verdict:
        """Run both on all samples."""
        done = 0
        reference = Reference(self.request)
        reference.require_samples(self.samples, fewer=self.request.data.samples is not None)
        size, least = self._batch(reference)  # samples of one shape come together, whatever their order
        for rows, feeds in zip(self.feed.groups(size), self.feed.batches(size, least=least), strict=True):
            wanted, got = reference.outputs(feeds, rows), self.runner.run(feeds)
            self._add(self.feed.of_samples(wanted, rows, least), self.feed.of_samples(got, rows, least), rows)
            done += len(rows)
            self.emit(Progress(f"comparing {self.label}", done, self.samples, "samples"))
        reference.close()
        outputs = tuple(meter.comparison() for meter in self.meters.values())
        return Verdict(
            self.label,
            self.runner.describe(),
            outputs,
            self._share(self.right) if self.truth is not None else None,
            self._share(self.agreeing) if self.classified else None,
            basis=self.runner.basis,
        )

    def _batch(self, reference: Reference) -> tuple[int, int]:
        """Samples per run: as many as are asked for, as far as the profiles of both sides allow; and the fewest."""
        from trtconv.engines.build import profiles

        allowed = [one.profiles for one in (self.runner, reference.runner) if one is not None]
        rooms = [profiles.most_samples(one, self.feed.axes) for one in allowed]
        size = min([self.request.batch, *(room for room in rooms if room)])
        return size, max(map(profiles.least_batch, allowed))

    def _add(self, wanted: dict[str, Any], got: dict[str, Any], rows: Any) -> None:
        from trtconv.data.compare import OutputMeter

        for name, reference in wanted.items():
            if name not in got:
                raise UsageError(
                    f"{self.label} has no output {name!r}; it has {', '.join(got)}",
                    hint="compare models with the same outputs",
                )
            if got[name].shape != reference.shape:
                raise UsageError(
                    f"output {name!r} of {self.label} has shape {list(got[name].shape)}, the reference "
                    f"{list(reference.shape)}",
                    hint="compare models of the same network and layout",
                )
            self.meters.setdefault(name, OutputMeter(name)).add(reference, got[name])
        self._classify(wanted, got, rows)

    def _classify(self, wanted: dict[str, Any], got: dict[str, Any], rows: Any) -> None:
        from trtconv.data.compare import classes, require_classes

        count = len(rows)
        for name, reference in wanted.items():
            predicted, expected = classes(got[name], count), classes(reference, count)
            if predicted is None or expected is None:
                continue
            self.classified += count
            self.agreeing += int((predicted == expected).sum())
            if self.truth is not None:
                truth = self.truth[rows]
                require_classes(truth, reference.shape[-1])
                self.right += int((predicted == truth).sum())
                self.reference_right += int((expected == truth).sum())
            return

    def _share(self, count: int) -> float:
        if not self.classified:
            raise UsageError(
                "labels are given, but no output has one row of classes per sample",
                hint="remove labels, or verify an output of shape [batch, classes]",
            )
        return 100.0 * count / self.classified


class Reference:
    """The reference's outputs per batch: stored ones, or those of a model that runs along."""

    def __init__(self, request: VerifyRequest) -> None:
        from trtconv.data.arrays import npz_keys, open_npz_member

        self.path = request.reference
        stored = self.path.suffix == ".npz"
        self.runner = None if stored else open_model(self.path)
        self.arrays = {key: open_npz_member(self.path, key) for key in npz_keys(self.path)} if stored else {}
        if stored and not (self.arrays and all(array.shape for array in self.arrays.values())):
            raise UsageError(f"{self.path}: no outputs of samples in it", hint="store an array per output of the model")

    def require_samples(self, count: int, *, fewer: bool) -> None:
        """Refuse stored outputs of other samples than the data.

        Args:
            count: samples that are compared.
            fewer: whether those are the first of more.

        Raises:
            UsageError: naming the output.
        """
        for name, array in self.arrays.items():
            if array.shape[0] < count or (array.shape[0] > count and not fewer):
                raise UsageError(
                    f"{self.path}: {name!r} has {array.shape[0]} samples, and the data {count}",
                    hint="make the reference from the same data",
                )

    def outputs(self, feeds: dict[str, Any], rows: Any) -> dict[str, Any]:
        """Of some samples."""
        if self.runner is not None:
            outputs: dict[str, Any] = self.runner.run(feeds)
            return outputs
        return {name: array.rows(rows) for name, array in self.arrays.items()}

    def close(self) -> None:
        """Free what ran."""
        if self.runner is not None:
            self.runner.close()
