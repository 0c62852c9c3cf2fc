"""Damaged and hostile inputs, made from good ones. A case is a function of its number."""
