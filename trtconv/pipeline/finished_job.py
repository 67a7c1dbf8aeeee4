"""What is known of a job without running it: recorded steps with their results, and the gates judged on them."""

from __future__ import annotations

from collections.abc import Sequence

from trtconv.core.errors import UsageError
from trtconv.job.schema import Job
from trtconv.pipeline import gates
from trtconv.pipeline.gates import Verdict
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.plan import forecast
from trtconv.pipeline.results import restore
from trtconv.pipeline.run import Step
from trtconv.pipeline.state import State
from trtconv.pipeline.steps import Node


def recorded(steps: Sequence[Node], layout: Layout) -> list[Step]:
    """The steps that ran at some time; ``status`` is "up to date", or why it no longer holds.

    Raises:
        UsageError: none ever ran.
    """
    state = State.load(layout.state)
    why = {row.name: row.why for row in forecast(steps, layout) if row.will_run}
    found = [
        Step(
            node=node,
            status=why.get(node.name, "up to date"),
            seconds=record.seconds,
            peak_memory=record.peak_memory,
            result=restore(node.stage, record.result),
        )
        for node in steps
        if (record := state.records.get(node.name)) is not None
    ]
    if not found:
        raise UsageError(f"nothing of this job ran yet: {layout.state} holds no steps", hint="trtconv run JOB")
    return found


def judged(job: Job, steps: Sequence[Step]) -> list[Verdict]:
    """The gates by the recorded measurements alone: a run would measure what is missed again, this does not."""
    verdicts = gates.judge([], steps, None)
    for gate in (*job.gates, *gates.implied(job.gates, steps)):
        try:
            verdicts += gates.judge([gate], steps, None)
        except UsageError as nothing:
            verdicts.append(Verdict(gate.measure, False, nothing.message, nothing.exit_code))
    return list(dict.fromkeys(verdicts))
