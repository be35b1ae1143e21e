"""Posed views of meshes on disk, in the form that the data set ``blender`` reads.

Each object is a folder that appears whole or not at all; one that was made from the same content stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from geotrap_cli.atomic import atomic_path, write_json
from geotrap_cli.data.mesh_files import Y_UP, MeshFile, mesh_digest
from geotrap_cli.data.parallel import run_all
from geotrap_cli.data.rig import FOV_DEG, blender_poses
from geotrap_cli.errors import GeotrapError

CONTENT_VERSION = 1
POSES, INDEX = "transforms.json", "objects.json"
TEXELS_PER_PIXEL = 4

Up = Literal["auto", "y", "z"]


@dataclass(frozen=True)
class Outcome:
    """What became of a mesh: rendered, skipped because its views are there, or failed."""

    mesh: MeshFile
    state: Literal["rendered", "kept", "failed"]
    problem: str = ""


@dataclass(frozen=True)
class MeshViews:
    """A folder of views.

    Args:
        out: the folder.
        size: side of the pictures (pixels).
        up: up axis of the meshes; ``auto``: y for GLB, glTF and OBJ, z for PLY and STL.
    """

    out: Path
    size: int = 256
    up: Up = "auto"

    def render(self, meshes: Sequence[MeshFile], workers: int | None = None) -> Iterator[Outcome]:
        """Render what is missing, several objects at a time, and yield what became of each mesh; then note the groups.

        Raises:
            OSError: the folder cannot be written.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        done = []
        for _, outcome in run_all(partial(_render, self), meshes, workers):
            done.append(outcome)
            yield outcome
        self._write_index([outcome.mesh for outcome in done if outcome.state != "failed"])

    def is_up_to_date(self, mesh: MeshFile) -> bool:
        """Whether the views of ``mesh`` are there and were made from its present content.

        Raises:
            UsageError: the mesh, or a file that it refers to, cannot be read.
        """
        key = self._key(mesh)
        try:
            return json.loads((self._folder(mesh) / POSES).read_bytes()).get("key") == key
        except (OSError, ValueError, AttributeError):
            return False

    def make(self, mesh: MeshFile) -> None:
        """Render one mesh.

        Raises:
            UsageError: the mesh cannot be read.
        """
        # Imported here: the processes that only skip need no Embree.
        from geotrap_cli.data.meshes import load_mesh
        from geotrap_cli.data.raycast import render_views

        y_up = mesh.path.suffix.lower() in Y_UP if self.up == "auto" else self.up == "y"
        pictures = render_views(load_mesh(mesh.path, y_up, TEXELS_PER_PIXEL * self.size), self.size)
        with atomic_path(self._folder(mesh)) as folder:
            folder.mkdir()
            for index, picture in enumerate(pictures):
                Image.fromarray(picture).save(folder / f"r_{index:02d}.png")
            (folder / POSES).write_text(json.dumps(self._table(mesh), indent=1) + "\n", encoding="utf-8")

    def _table(self, mesh: MeshFile) -> dict[str, Any]:
        frames = [
            {"file_path": f"r_{index:02d}", "transform_matrix": pose.tolist()}
            for index, pose in enumerate(blender_poses())
        ]
        facts = {"key": self._key(mesh), "mesh": mesh.path.name}
        return {"camera_angle_x": math.radians(FOV_DEG), **facts, "frames": frames}

    def _key(self, mesh: MeshFile) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((CONTENT_VERSION, self.size, self.up, np.round(blender_poses(), 9).tolist())).encode())
        digest.update(mesh_digest(mesh.path))
        return digest.hexdigest()

    def _folder(self, mesh: MeshFile) -> Path:
        return self.out / mesh.category / mesh.name

    def _write_index(self, meshes: Sequence[MeshFile]) -> None:
        """Add the objects to ``objects.json``; what a user wrote there, such as groups, stays."""
        from geotrap_cli.data.index import read_index

        known = read_index(self.out / INDEX)
        for mesh in meshes:
            own = {"id": mesh.id, "category": mesh.category, "group": mesh.id, "mesh": mesh.path.name}
            known[mesh.id] = {**own, **known.get(mesh.id, {})}
        write_json(self.out / INDEX, [known[id] for id in sorted(known)])


def _render(views: MeshViews, mesh: MeshFile) -> Outcome:
    """Render one mesh where it is needed; what is wrong with one ends no other."""
    outcome = Outcome(mesh, "kept")
    try:
        if not views.is_up_to_date(mesh):
            views.make(mesh)
            outcome = replace(outcome, state="rendered")
    except GeotrapError as error:
        return replace(outcome, state="failed", problem=str(error))
    return outcome
