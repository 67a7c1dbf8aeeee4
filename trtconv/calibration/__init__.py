"""Activation ranges: collecting them, choosing thresholds, TensorRT calibration caches."""
