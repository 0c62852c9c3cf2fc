"""Training: one readable file per thing that is trained, one shared loop."""
