"""One browser page: its columns, controls and words. Each page has its own, so that two can show different things."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.cells import SUBJECTS
from geotrap_cli.viewer.columns import column_poses, fitting_fov
from geotrap_cli.viewer.exhibit import Exhibit
from geotrap_cli.viewer.scene import COLUMNS, TRUTH, Scene

if TYPE_CHECKING:
    from viser import ClientHandle, GuiSliderHandle

_AWAY = 3.0
"""How many times farther than the picture's camera the page's stands: nearer, three columns need too wide an angle."""
_GAP = 1.05
_SAME_SHAPE = 0.01


class Page:
    """What one client sees.

    Args:
        client: The connected browser.
        exhibit: What there is to see.
        first: The attack to begin with.
    """

    def __init__(self, client: ClientHandle, exhibit: Exhibit, first: str) -> None:
        self.client, self.exhibit = client, exhibit
        # Callbacks come from several threads; each reads the controls anew, so the last one to run is right.
        self._lock = threading.RLock()
        self._spacing, self._aspect = 1.0, 0.0
        self._frames = {name: client.scene.add_frame(f"/{name}", show_axes=False) for name in COLUMNS}
        self._labels = {
            name: client.scene.add_label(f"/label {name}", name, anchor="bottom-center") for name in COLUMNS
        }
        self._build_controls(first)
        self._choose_attack()
        client.camera.on_update(lambda _: self._guarded(self._follow))

    def _build_controls(self, first: str) -> None:
        gui = self.client.gui
        self._attack = gui.add_dropdown("attack", self.exhibit.attacks, initial_value=first)
        self._object: Any = gui.add_dropdown("object", ("",))
        self._names: dict[str, str] = {}
        self._slider: GuiSliderHandle[int] | None = None
        self._steps: list[int] = []
        button = gui.add_button("Look from the picture's side", order=self._object.order + 0.6)
        self._text = gui.add_markdown("")
        self._attack.on_update(lambda _: self._guarded(self._choose_attack))
        self._object.on_update(lambda _: self._guarded(self._choose_object))
        button.on_click(lambda _: self._guarded(self._look))

    def _guarded(self, act: Callable[[], Any]) -> None:
        """Act alone, and tell on the page what went wrong."""
        with self._lock:
            try:
                act()
            except GeotrapError as error:
                self._text.content = f"**Nothing to see here:** {error}"
                self._show(None)

    def _choose_attack(self) -> None:
        self._text.content = "Opening …"
        objects, before = self.exhibit.attack(self._attack.value).objects, self._object.value
        self._names = {f"{split}: {name}": name for name, split in objects.items()}
        self._object.options = list(self._names)
        self._object.value = before if before in self._names else next(iter(self._names))
        self._choose_object()

    def _choose_object(self) -> None:
        steps = self.exhibit.attack(self._attack.value).steps(self._names[self._object.value])
        if steps != self._steps or self._slider is None:
            self._replace_slider(steps)
        self._choose_step()
        self._look()

    def _replace_slider(self, steps: list[int]) -> None:
        if self._slider is not None:
            self._slider.remove()
        self._steps = steps
        marks = tuple((index, str(step)) for index, step in enumerate(steps))
        # Begins at the end: that is what an attacker walks away with.
        self._slider = self.client.gui.add_slider(
            "evaluation",
            min=0,
            max=max(1, len(steps) - 1),
            step=1,
            initial_value=len(steps) - 1,
            marks=marks,
            disabled=len(steps) == 1,
            hint="Below it, the number of attack steps; 0 is before the attack.",
            order=self._object.order + 0.5,
        )
        self._slider.on_update(lambda _: self._guarded(self._choose_step))

    def _choose_step(self) -> None:
        assert self._slider is not None
        step = self._steps[min(int(self._slider.value), len(self._steps) - 1)]
        self._scene = self.exhibit.scene(self._attack.value, self._names[self._object.value], step)
        self._text.content = self._scene.text
        self._show(self._scene)

    def _show(self, scene: Scene | None) -> None:
        for name, frame in self._frames.items():
            frame.visible = scene is not None
            self._labels[name].visible = scene is not None
        if scene is None:
            return
        picture = scene.picture
        self._spacing = _GAP * max(picture.size)
        self._plane = self.client.scene.add_image(f"/{TRUTH}/picture", picture.pixels, *picture.size, format="png")
        for subject in SUBJECTS:
            self._show_splats(subject, scene)
            self._labels[subject].text = f"{subject}: {scene.captions[subject]}"
        self._place()

    def _show_splats(self, subject: str, scene: Scene) -> None:
        splats = scene.splats[subject]
        self._frames[subject].visible = splats is not None
        if splats is not None:
            self.client.scene.add_gaussian_splats(
                f"/{subject}/splats",
                centers=splats.means,
                covariances=splats.covariances,
                rgbs=splats.rgb,
                opacities=splats.opacities,
            )

    def _look(self) -> None:
        """Put the camera where the picture's is, but farther away."""
        camera = self.client.camera
        with self.client.atomic():
            camera.position, camera.look_at = _AWAY * self._scene.picture.camera, np.zeros(3)
            camera.up_direction = np.array([0.0, 1.0, 0.0])
        self._fit()
        self._place()

    def _fit(self) -> None:
        """Choose the field of view that holds all columns."""
        camera = self.client.camera
        self._aspect = camera.aspect
        distance = float(np.linalg.norm(_AWAY * self._scene.picture.camera))
        camera.fov = fitting_fov(distance, self._spacing, len(COLUMNS), self._aspect)

    def _follow(self) -> None:
        """Answer a move of the camera, or a window of another shape."""
        if abs(self.client.camera.aspect - self._aspect) > _SAME_SHAPE:
            self._fit()
        self._place()

    def _place(self) -> None:
        """Put the columns side by side as the camera sees them."""
        camera = self.client.camera
        poses = column_poses(camera.position, camera.look_at, camera.up_direction, len(COLUMNS), self._spacing)
        with self.client.atomic():
            for name, pose in zip(COLUMNS, poses, strict=True):
                frame = self._frames[name]
                frame.wxyz, frame.position = pose.wxyz, pose.position
                self._labels[name].position = pose.label
            # A picture shows one side, so it turns with the camera.
            self._plane.wxyz = camera.wxyz
