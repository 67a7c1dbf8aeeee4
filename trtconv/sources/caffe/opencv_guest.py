"""Runs Caffe networks by OpenCV: a small module for ``core.interpreter``, which imports nothing of trtconv."""

from __future__ import annotations

from typing import Any

_OPEN: dict[str, Any] = {}


def version(_request: dict[str, Any], host: Any) -> str:
    """Of OpenCV."""
    return str(host.load("cv2").__version__)


def read(request: dict[str, Any], host: Any) -> None:
    """Open a network: ``prototxt``, and ``weights`` or none.

    Raises:
        Refused: OpenCV cannot read it, or is of a version that reads no Caffe.
    """
    cv2 = host.load("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise host.refusal(
            "EnvironmentProblem",
            f"OpenCV {cv2.__version__} no longer reads Caffe networks",
            hint="versions below 5 do: pip install 'opencv-python-headless<5'",
        )
    _OPEN.clear()
    with _told(cv2, host):
        _OPEN["network"] = cv2.dnn.readNetFromCaffe(request["prototxt"], request["weights"] or "")


def forward(request: dict[str, Any], host: Any) -> list[int]:
    """Run it on the arrays of ``feeds`` (.npz, a0 for the first of ``names``), and keep what ``layers`` make.

    Returns:
        How many arrays each layer made; they are in ``outputs`` (.npz), a0, a1, ... in this order.
    """
    import numpy as np

    cv2, network = host.load("cv2"), _OPEN["network"]
    with _told(cv2, host):
        with np.load(request["feeds"]) as stored:
            for number, name in enumerate(request["names"]):
                network.setInput(stored[f"a{number}"], name)
        made = network.forwardAndRetrieve(request["layers"])
    arrays = [array for group in made for array in group]
    np.savez(request["outputs"], **{f"a{number}": array for number, array in enumerate(arrays)})
    return [len(group) for group in made]


class _told:  # noqa: N801 - used as a function
    """OpenCV's errors, in one line."""

    def __init__(self, cv2: Any, host: Any) -> None:
        self.cv2, self.host = cv2, host

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: Any, error: Any, _trace: Any) -> None:
        """Refuse what OpenCV refuses."""
        if isinstance(error, self.cv2.error):
            said = " ".join(str(error).split())[:300]
            raise self.host.refusal(
                "SourceError", f"OpenCV does not run this network: {said}", hint="convert.check: false does not compare"
            ) from None
