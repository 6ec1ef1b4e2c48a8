"""Faults: how each is provoked, what the scripts make of it, what the tutorial way does."""
