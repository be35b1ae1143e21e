"""The embedded data set: everyday objects built from a seed, so that every command works without a download."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from geotrap_cli.cameras import Cameras, blender_to_viewmats, intrinsics_from_fov
from geotrap_cli.data.base import ObjectRecord, PosedViews
from geotrap_cli.data.procedural.cache import POINT_SIZE, RenderCache, Rendered, default_root
from geotrap_cli.data.procedural.registry import (
    BENIGN,
    CATEGORIES,
    CONTENT_VERSION,
    SOURCE,
    TARGET,
    build_object,
    object_id,
    parse_id,
)
from geotrap_cli.data.raycast import surface_points
from geotrap_cli.data.rig import FOV_DEG, VIEWS, blender_poses, quads
from geotrap_cli.errors import UsageError


class ProceduralConfig(BaseModel):
    """Options of the procedural data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objects_per_category: int = Field(default=48, ge=1, le=10_000, description="Objects of each category.")
    seed: int = Field(
        default=0, ge=0, description="Seed of the objects; object i of a category is the same for any count."
    )
    size: int = Field(default=64, ge=16, le=512, description="Side of the rendered pictures in pixels.")
    cache: Path | None = Field(
        default=None, description="Cache folder; default: GEOTRAP_CACHE or the user's cache folder."
    )
    in_memory: int = Field(
        default=4096, ge=1, description="Objects whose pictures are kept in memory (0.5 MB each at 64 px)."
    )


class ProceduralDataset:
    """Everyday objects, rendered on first use by the camera rig of 24 views around each.

    Source categories teach a model, target categories are what a defense forbids, the benign category is neither.
    """

    key = "procedural"
    summary = "everyday objects built from a seed; needs no download"
    Config = ProceduralConfig
    default_source = tuple(SOURCE)
    default_target = tuple(TARGET)
    default_benign = tuple(BENIGN)

    def __init__(self, config: ProceduralConfig | None = None) -> None:
        self.config = config or ProceduralConfig()
        self.cache = RenderCache(self.config.cache or default_root(), self.config.seed, self.config.size)
        self.records = tuple(
            _record(object_id(category, index), category)
            for category in CATEGORIES
            for index in range(self.config.objects_per_category)
        )
        self._known = frozenset(record.id for record in self.records)
        self._memory: OrderedDict[str, Rendered] = OrderedDict()
        self._viewmats = blender_to_viewmats(torch.from_numpy(blender_poses())).float()

    def rings(self, id: str) -> list[list[int]]:
        """Four views 90 degrees apart in one ring, for each of the 24 starting views."""
        self._check(id)
        return quads()

    def views(self, id: str, indices: Sequence[int], size: int) -> PosedViews:
        """Views ``indices`` of an object at ``size`` x ``size`` pixels.

        Raises:
            UsageError: An unknown object, or a size above the rendered one.

        """
        chosen = torch.from_numpy(self._load(id).rgba[list(indices)]).float() / 255.0
        rgba = chosen if size == self.config.size else _shrunk(chosen, size)
        return PosedViews(rgba, self.cameras(size).select(list(indices)))

    def cameras(self, size: int) -> Cameras:
        """The rig's 24 cameras for pictures of the given size."""
        Ks = intrinsics_from_fov(float(np.radians(FOV_DEG)), size, size).expand(VIEWS, 3, 3)
        return Cameras(self._viewmats, Ks, size, size)

    def surface_points(self, id: str, indices: Sequence[int], size: int = POINT_SIZE) -> Tensor:
        """Points [V, size, size, 3] in the y-up world where the rays through the pixel centres first meet the surface.

        Rays that miss give NaN. Size 32 is cached at half precision (error below 0.0003); other sizes are cast anew.
        """
        if size == POINT_SIZE:
            points = torch.from_numpy(self._load(id).points)
        else:
            category, index = self._check(id)
            points = torch.from_numpy(surface_points(build_object(category, index, self.config.seed), size))
        x, y, z = points[list(indices)].float().unbind(dim=-1)
        return torch.stack([x, z, -y], dim=-1)

    def prepare(
        self,
        ids: Sequence[str] | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Render the objects ``ids`` (default: all) that the cache lacks, several at a time."""
        self.cache.prepare([record.id for record in self.records] if ids is None else ids, workers, progress)

    def fingerprint(self) -> str:
        """Hash of all that decides the content: generator version, seed, size, categories and count."""
        facts = [
            CONTENT_VERSION,
            self.config.seed,
            self.config.size,
            self.config.objects_per_category,
            list(CATEGORIES),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _check(self, id: str) -> tuple[str, int]:
        if id in self._known:
            return parse_id(id)
        raise UsageError(
            f"the procedural data set has no object {id!r}",
            hint=f"Each category has {self.config.objects_per_category} objects, such as {self.records[0].id!r}.",
        )

    def _load(self, id: str) -> Rendered:
        self._check(id)
        found = self._memory.pop(id, None) or self.cache.load(id)
        self._memory[id] = found
        if len(self._memory) > self.config.in_memory:
            self._memory.popitem(last=False)
        return found


def _record(id: str, category: str) -> ObjectRecord:
    return ObjectRecord(id=id, group=id, category=category, views=VIEWS)


def _shrunk(rgba: Tensor, size: int) -> Tensor:
    """Area-averaged pictures; colours are averaged with alpha as their weight, so no background bleeds in."""
    if size > rgba.shape[1]:
        raise UsageError(
            f"pictures of {size} px were asked of objects rendered at {rgba.shape[1]} px",
            hint=f"Set the data option size to {size}.",
        )
    weighted = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], dim=-1).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(weighted, size=(size, size), mode="bilinear", antialias=True)
    alpha = small[:, 3:]
    colour = torch.where(alpha > 0, small[:, :3] / alpha.clamp_min(1e-6), small[:, :3])
    return torch.cat([colour, alpha], dim=1).permute(0, 2, 3, 1).clamp(0.0, 1.0)
