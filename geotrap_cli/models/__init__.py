"""Generators of 3D Gaussians."""
