"""trtconv: trained networks to calibrated, verified and measured TensorRT engines."""

__version__ = "0.1.0"
