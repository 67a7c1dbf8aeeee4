"""Door to Triton's official message definitions, in the ``tritonclient`` package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from trtconv.core.errors import UsageError


def installed() -> bool:
    """Whether the definitions are there."""
    return find_spec("tritonclient") is not None and find_spec("grpc") is not None


def read_config(text: str, where: str) -> Mapping[str, Any]:
    """A ``config.pbtxt`` as Triton reads it: fields that are set, by their names.

    Raises:
        UsageError: Triton would not read it: an unknown field, enum value or type.
    """
    from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
    from tritonclient.grpc import model_config_pb2

    try:
        found = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise UsageError(
            f"{where}: Triton does not read it: {error}", hint="compare with Triton's model_config.proto"
        ) from None
    fields: Mapping[str, Any] = json_format.MessageToDict(found, preserving_proto_field_name=True)
    return fields
