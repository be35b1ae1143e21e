"""What the page shows at one moment: the right Gaussians, their numbers, and the truth with its camera."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.viewer.exhibit import Exhibit
from geotrap_cli.viewer.scene import make_scene
from geotrap_cli.viewer.sources import AttackGaussians


def test_objects_of_the_target_come_first_in_the_order_of_the_draw(shown: AttackGaussians) -> None:
    assert shown.objects == {"knife/2": "target", "knife/1": "target", "crate/1": "source"}
    assert shown.steps("knife/1") == [0, 10, 20]
    assert shown.steps("crate/1") == [0, 20]


@pytest.mark.parametrize(("step", "count"), [(0, 1), (10, 2), (20, 3)])
def test_each_step_shows_its_own_visible_gaussians(shown: AttackGaussians, step: int, count: int) -> None:
    scene = make_scene(shown, "lora", "knife/1", step)
    for subject, shift in (("undefended", 0.0), ("defended", 0.5)):
        splats = scene.splats[subject]
        assert splats is not None
        expected = [10 * (shift + 0.1 * index) for index in range(count)]
        np.testing.assert_allclose(splats.means[:, 0], expected, atol=5e-3)
        np.testing.assert_allclose(splats.covariances, np.tile(np.eye(3), (count, 1, 1)), rtol=1e-3, atol=1e-6)


def test_numbers_are_those_of_the_object_and_step(shown: AttackGaussians) -> None:
    scene = make_scene(shown, "lora", "knife/1", 10)
    assert scene.captions == {"undefended": "21.5 dB", "defended": "13.5 dB"}
    assert make_scene(shown, "lora", "knife/2", 10).captions == {"undefended": "21.0 dB", "defended": "13.0 dB"}
    assert "target object** knife/1, after 10 of 20 steps of lora" in scene.text
    assert "**undefended**: 21.5 dB (2 Gaussians)" in scene.text
    assert "before lora" in make_scene(shown, "lora", "crate/1", 0).text


def test_what_was_not_kept_or_not_scored_is_said(shown: AttackGaussians) -> None:
    del shown.kept["defended"].tensors["knife/1@10"]
    scene = make_scene(dataclasses.replace(shown, note="Read this."), "lora", "knife/1", 10)
    assert scene.splats["defended"] is None
    assert "13.5 dB; no Gaussians at this step" in scene.text
    assert scene.text.endswith("Read this.")
    assert make_scene(shown, "lora", "crate/1", 10).captions["undefended"] == "not scored"


def test_the_picture_is_seen_from_where_it_was_taken(shown: AttackGaussians) -> None:
    """A camera 30 degrees above and at 90 degrees, 1.5 away, in units ten times smaller."""
    picture = make_scene(shown, "lora", "knife/1", 0).picture
    np.testing.assert_allclose(picture.camera, [15 * math.cos(math.pi / 6), 7.5, 0], atol=1e-4)
    # At the distance of the origin it covers what its angle of view, 0.85 rad, spans.
    assert picture.size == pytest.approx((30 * math.tan(0.425),) * 2, rel=1e-5)
    assert picture.pixels.dtype == np.uint8 and picture.pixels.shape == (8, 8, 3)


def test_an_exhibit_begins_with_the_first_attack_that_can_be_opened(
    shown: AttackGaussians, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(pair: object) -> AttackGaussians:
        if pair is not shown.pair:
            raise UsageError("the weights are gone", hint="bring them back")
        return shown

    monkeypatch.setattr("geotrap_cli.viewer.exhibit.open_attack", opened)
    gone = dataclasses.replace(shown.pair)
    assert Exhibit({"worst": gone, "other": shown.pair}, "").first() == "other"
    with pytest.raises(UsageError, match="nothing to see: the weights are gone"):
        Exhibit({"worst": gone}, "").first()
