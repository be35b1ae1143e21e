"""Posed views of objects: readers, view sampling, splits, and the procedural set."""
