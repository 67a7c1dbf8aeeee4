"""Building, loading and running engines; what each flavour of TensorRT can do."""
