"""What a Paddle model holds."""

from __future__ import annotations

from pathlib import Path

from trtconv.sources.paddle import files, network
from trtconv.sources.records import Description, Tensors


def describe(path: Path) -> Description:
    """A program, or a folder that holds one; of its parameters, the names and shapes that the program has."""
    found = network.read(files.find(path))
    whole = found.program
    weights = whole.weights()
    parameters = found.files.weights
    facts = {
        "program": found.files.program.name,
        "parameters": parameters.name if parameters.is_file() else "one file each" if parameters.is_dir() else "",
        "weights": len(weights),
        "version": whole.version if found.document is None else f"PIR {found.document.version}",
    }
    tensors = Tensors(found.info(whole.feeds()), found.info(whole.fetches()))
    return Description(found.form(), found.operators(), facts, [tensors], counted="operators")
