"""The tasks: one file for each network that is trained."""
