"""Sound files, sample rates and levels."""
