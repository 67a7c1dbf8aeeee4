"""docs/job.md is what scripts/job_reference.py makes of the schema."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts/job_reference.py"))
    assert script["page"]() == (ROOT / "docs/job.md").read_text(), "run: make docs"


def test_the_page_has_every_key_of_the_example() -> None:
    import yaml

    text = (ROOT / "docs/job.md").read_text()
    job = yaml.safe_load((ROOT / "configs/digits.yaml").read_text())
    assert all(f"| `{key}` |" in text for key in job)
    assert "| `max_accuracy_drop` | number |" in text
    assert "## `inputs.<name>.profile`" in text
