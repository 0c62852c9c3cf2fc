"""Everything that makes a bundle: networks, losses, data, tasks, training and export. Needs PyTorch."""
