"""Samples in, results out: feeds, preprocessing, postprocessing."""
