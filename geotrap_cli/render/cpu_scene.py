"""The stages of a CPU rendering, each spread over the thread pool: project, blend, retreat, unproject."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geotrap_cli.errors import GeotrapError
from geotrap_cli.render import cpu_backward, cpu_forward
from geotrap_cli.render.base import Splats
from geotrap_cli.render.cpu_coverage import LANES, row_blocks
from geotrap_cli.render.cpu_projection import GRADIENT_COLUMNS, SCREEN_COLUMNS, project
from geotrap_cli.render.cpu_threads import for_each
from geotrap_cli.render.cpu_unprojection import unproject

Array = NDArray[np.floating]

_CHUNK = 2048
"""Gaussians a task of the last backward stage."""
_MOST_GAUSSIANS = 2**24
"""Positions in the depth order are kept in float32, which counts no further."""


class Scene:
    """Splats as contiguous arrays, and what the backward pass needs to know of the forward pass.

    Results do not depend on the number of threads: each task owns the memory it writes, and gradients are summed over
    views in a fixed order.
    """

    def __init__(self, splats: Splats, width: int, height: int) -> None:
        if splats.means.shape[1] > _MOST_GAUSSIANS:
            raise GeotrapError(
                f"The CPU rasterizer got {splats.means.shape[1]} Gaussians an object",
                hint=f"It takes up to {_MOST_GAUSSIANS}: prune, or use --device cuda.",
            )
        self.means, self.quats, self.scales, self.opacities, self.rgb = (
            np.ascontiguousarray(value.detach().numpy()) for value in splats[:5]
        )
        self.viewmats, self.Ks = (np.ascontiguousarray(value.detach().numpy(), np.float64) for value in splats[5:])
        self.width, self.height = width, height
        self.images = [(b, v) for b in range(self.means.shape[0]) for v in range(self.viewmats.shape[1])]
        shape = (*self.viewmats.shape[:2], self.means.shape[1])
        self.depths = np.empty(shape, self.means.dtype)
        self.screen = np.empty((*shape, SCREEN_COLUMNS), self.means.dtype)
        self.orders: dict[tuple[int, int], NDArray[np.int64]] = {}
        self.pixels = self._buffer(cpu_forward.CHANNELS)

    def forward(self, near: float, far: float) -> tuple[Array, Array]:
        """Return premultiplied rgb [B,V,H,W,3] and alpha [B,V,H,W]."""

        def draw(image: tuple[int, int]) -> None:
            self._project(image, near, far)
            pixels = self.pixels[image].reshape(-1)
            cpu_forward.blend(
                self.screen[image], self.orders[image], self.rgb[image[0]], self.width, self.height, pixels
            )

        for_each(draw, self.images)
        channels = self._unblocked(self.pixels)
        rgb = np.ascontiguousarray(np.moveaxis(channels[:, :, :3], 2, -1))
        return rgb, 1.0 - np.abs(channels[:, :, cpu_forward.TRANSMITTANCE])

    def backward(self, to_rgb: Array, to_alpha: Array) -> tuple[Array, ...]:
        """Return the gradients to means, quats, scales, opacities and rgb, given those to rgb and alpha."""
        screen_gradients = np.zeros((*self.depths.shape, GRADIENT_COLUMNS), self.means.dtype)

        def retreat(image: tuple[int, int]) -> None:
            pixels = self._backward_pixels(image, to_rgb[image], to_alpha[image])
            cpu_backward.retreat(
                self.screen[image],
                self.orders[image],
                self.rgb[image[0]],
                self.width,
                self.height,
                pixels.reshape(-1),
                screen_gradients[image],
            )

        for_each(retreat, self.images)
        return self._unproject(screen_gradients)

    def _project(self, image: tuple[int, int], near: float, far: float) -> None:
        b = image[0]
        visible = project(
            self.means[b],
            self.quats[b],
            self.scales[b],
            self.opacities[b],
            self.viewmats[image],
            self.Ks[image],
            self.width,
            self.height,
            near,
            far,
            self.screen[image],
            self.depths[image],
        )
        self.orders[image] = np.argsort(self.depths[image], kind="stable")[:visible]

    def _unproject(self, screen_gradients: Array) -> tuple[Array, ...]:
        attributes = (self.means, self.quats, self.scales, self.opacities, self.rgb)
        gradients = tuple(np.zeros_like(attribute) for attribute in attributes)

        def unproject_chunk(task: tuple[int, int]) -> None:
            b, start = task
            unproject(
                self.means[b],
                self.quats[b],
                self.scales[b],
                self.opacities[b],
                self.viewmats[b],
                self.Ks[b],
                self.width,
                self.height,
                self.depths[b],
                screen_gradients[b],
                start,
                min(start + _CHUNK, self.means.shape[1]),
                *(gradient[b] for gradient in gradients),
            )

        batch, count = self.means.shape[:2]
        for_each(unproject_chunk, [(b, start) for b in range(batch) for start in range(0, count, _CHUNK)])
        return gradients

    def _buffer(self, channels: int) -> Array:
        blocks = row_blocks(self.width)
        return np.empty((*self.viewmats.shape[:2], self.height, blocks, channels, LANES), self.means.dtype)

    def _unblocked(self, pixels: Array) -> Array:
        """[B,V,H,blocks,C,8] to [B,V,C,H,W]."""
        batch, views, height, blocks, channels, lanes = pixels.shape
        planes = np.moveaxis(pixels, 4, 2).reshape(batch, views, channels, height, blocks * lanes)
        return planes[..., : self.width]

    def _backward_pixels(self, image: tuple[int, int], to_rgb: Array, to_alpha: Array) -> Array:
        """The buffer the backward kernel starts from, [H,blocks,6,8]; lanes outside the image get no gradient."""
        drawn = self.pixels[image]
        height, blocks, _, lanes = drawn.shape
        padded = np.zeros((height, blocks * lanes, 4), drawn.dtype)
        padded[:, : self.width, :3] = to_rgb
        padded[:, : self.width, 3] = to_alpha
        planes = np.swapaxes(padded.reshape(height, blocks, lanes, 4), 2, 3)
        transmittance = np.abs(drawn[:, :, cpu_forward.TRANSMITTANCE])
        pixels = np.empty((height, blocks, cpu_backward.CHANNELS, lanes), drawn.dtype)
        pixels[:, :, :3] = planes[:, :, :3]
        pixels[:, :, cpu_backward.TRANSMITTANCE] = transmittance
        pixels[:, :, cpu_backward.LAST] = drawn[:, :, cpu_forward.LAST]
        pixels[:, :, cpu_backward.BEHIND] = -planes[:, :, 3] * transmittance
        return pixels
