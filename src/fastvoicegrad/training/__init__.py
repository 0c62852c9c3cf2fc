"""Everything that needs PyTorch to make a bundle: networks, losses, data, tasks, export."""
