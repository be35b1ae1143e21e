"""Splatter Image: one view to one Gaussian a pixel, as a diffusers model."""
