"""Recordings in, training arrays out."""
