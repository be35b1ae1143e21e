"""Differentiable Gaussian rasterization: one interface over a CPU, a CUDA and a reference back end."""

from __future__ import annotations

from geotrap_cli.render.base import Rendered
from geotrap_cli.render.rasterizer import rasterize, render, render_premultiplied

__all__ = ["Rendered", "rasterize", "render", "render_premultiplied"]
