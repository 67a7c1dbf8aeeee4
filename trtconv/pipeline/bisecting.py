"""What to bisect of a job: one request per precision, with the files and rules of its lowering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trtconv.core.errors import UsageError
from trtconv.job.schema import Job
from trtconv.pipeline import sections
from trtconv.pipeline.layout import Layout
from trtconv.stages.verify.bounds import TOLERANCE

if TYPE_CHECKING:
    from trtconv.stages.verify.bisect import BisectRequest

_ON_A_CPU = ("fp16", "bf16", "int8", "fp8")


def requests(job: Job, layout: Layout, gates: Mapping[str, float | None]) -> list[BisectRequest]:
    """One per precision that can be bisected; gates that are not given are the job's.

    Raises:
        UsageError: the job verifies nothing, or no precision of it can be bisected.
    """
    if job.verify is None:
        raise UsageError("bisect needs data: the job has no verify section", hint="add verify: {data: {path: FILE}}")
    precisions = [precision for precision in job.precision if precision in _ON_A_CPU]
    if not precisions:
        raise UsageError(
            f"nothing to bisect in precision {', '.join(job.precision)}", hint=f"bisect works on {', '.join(_ON_A_CPU)}"
        )
    return [_request(job, layout, precision, gates) for precision in precisions]


def _request(job: Job, layout: Layout, precision: str, gates: Mapping[str, float | None]) -> BisectRequest:
    from trtconv.stages.verify.bisect import BisectRequest

    assert job.verify is not None
    calibration = job.calibrate
    given = calibration.cache if calibration else None
    drop = gates["max_accuracy_drop"]
    return BisectRequest(
        model=layout.onnx,
        data=sections.feed(job.verify.data),
        precision=precision,
        cache=given or (layout.cache if calibration else None),
        base=job.lower.base,
        keep=sections.keep(job.lower.keep),
        exclude=sections.keep(job.lower.exclude),
        batch=job.verify.batch,
        max_rel=gates["max_rel"] or job.verify.tolerance.get(precision, TOLERANCE.get(precision)),
        max_accuracy_drop=job.verify.max_accuracy_drop if drop is None else drop,
        min_snr_db=gates["min_snr_db"],
    )
