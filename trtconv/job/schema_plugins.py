"""The plugins section of a job file."""

from __future__ import annotations

from trtconv.job.fields import InputPath
from trtconv.job.section import Section, key, rule


class Plugin(Section):
    """A plugin of TensorRT: a library, or a class in Python."""

    path: InputPath | None = key(None, description="shared library that exports getCreators")
    python: str = key(
        "", pattern=r"^([\w.]+:\w+)?$", description="module:Class of a plugin creator, IPluginCreatorV3One"
    )
    embed: bool = key(False, description="put the library into the engine, which then needs no file beside it")

    @rule
    def _one_kind(self) -> None:
        if (self.path is None) == (not self.python):
            raise ValueError("expected one of path (a library) and python (module:Class)")
        if self.embed and self.path is None:
            raise ValueError("embed: an engine can hold a library, not Python")
