"""The networks (PyTorch). None of them knows how it is trained."""
