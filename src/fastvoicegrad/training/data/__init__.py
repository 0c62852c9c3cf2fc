"""From recordings to training batches."""
