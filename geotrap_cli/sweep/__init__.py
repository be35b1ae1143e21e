"""Trying every combination of traps: train, attack and rank each."""
