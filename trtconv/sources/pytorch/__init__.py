"""PyTorch: exported programs, TorchScript, and networks that a function of one's own makes."""
