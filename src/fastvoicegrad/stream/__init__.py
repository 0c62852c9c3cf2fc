"""Conversion while somebody speaks (NumPy and ONNX Runtime): causal networks with caches, a short constant delay."""
