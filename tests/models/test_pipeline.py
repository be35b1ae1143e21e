"""From pictures or a prompt to Gaussians."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from geotrap_cli.__main__ import main
from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.data.batch import generator_input
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator
from geotrap_cli.models.pipeline import LGMPipeline, load_multiview, on_white


def pictures(count: int = 4, size: int = 16) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(count)]


def test_four_views_go_in_at_even_azimuths(miniature: LGM) -> None:
    views = pictures()
    found = LGMPipeline(miniature)(views=views).gaussians
    viewmats = orbit_viewmats(0.0, torch.tensor([0.0, 90.0, 180.0, 270.0]))
    Ks = intrinsics_from_fov(np.deg2rad(49.1), 16, 16).expand(4, 3, 3)
    rgb = torch.stack([torch.from_numpy(np.array(view)) / 255 for view in views])
    with torch.no_grad():
        expected = miniature.forward_gaussians(generator_input(rgb, Cameras(viewmats, Ks, 16, 16))[None])
    torch.testing.assert_close(found.activated, expected.activated, atol=1e-4, rtol=1e-4)


def test_one_image_goes_through_the_multi_view_pipeline_whose_order_is_turned(miniature: LGM) -> None:
    seen: dict[str, Any] = {}
    frames = [np.full((16, 16, 3), level / 10, dtype=np.float32) for level in range(5)]

    def multiview(prompt: str, image: Any, **settings: Any) -> list[np.ndarray]:
        seen.update(prompt=prompt, image=image, **settings)
        return frames

    found = LGMPipeline(miniature, multiview)(image=pictures(1)[0], elevation_deg=10.0, guidance_scale=3.0)
    levels = [round(np.asarray(view).mean() / 25.5) for view in found.views]
    assert levels == [1, 2, 3, 0]
    assert seen["image"].shape == (16, 16, 3) and seen["elevation"] == -10.0 and seen["guidance_scale"] == 3.0
    LGMPipeline(miniature, multiview)(prompt="a chair")
    assert seen["prompt"] == "a chair" and seen["image"] is None


def test_what_is_missing_or_idle_is_said(miniature: LGM) -> None:
    pipeline = LGMPipeline(miniature)
    with pytest.raises(UsageError, match="no multi-view diffusion makes them"):
        pipeline(image=pictures(1)[0])
    with pytest.raises(UsageError, match="nothing to generate from"):
        pipeline()
    with pytest.raises(UsageError, match="3 views are given, but LGM takes 4"):
        pipeline(views=pictures(3))
    with pytest.raises(UsageError, match="would not act"):
        pipeline(views=pictures(), prompt="a chair")


def test_pictures_are_put_on_white_and_padded_to_a_square() -> None:
    clear = Image.new("RGBA", (8, 4), (255, 0, 0, 0))
    assert np.asarray(on_white(clear, 8)).min() == 255
    opaque = np.asarray(on_white(Image.new("RGBA", (8, 4), (255, 0, 0, 255)), 8))
    assert (opaque[0] == 255).all() and opaque[4, 4].tolist() == [255, 0, 0]


def test_the_pipeline_is_saved_and_read_by_diffusers(miniature: LGM, tmp_path: Path) -> None:
    LGMPipeline(miniature.eval()).save_pretrained(tmp_path / "pipeline")
    loaded = LGMPipeline.from_pretrained(tmp_path / "pipeline")
    views = pictures()
    assert torch.equal(loaded(views=views).gaussians.activated, LGMPipeline(miniature)(views=views).gaussians.activated)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no multi-view pipeline"):
        load_multiview(str(tmp_path))


def test_the_command_writes_a_ply_and_a_turntable(
    miniature: LGM, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geotrap_cli.training.generate.FRAMES", 2)
    save_generator(miniature, tmp_path / "model")
    files = []
    for index, picture in enumerate(pictures()):
        files.append(str(tmp_path / f"view{index}.png"))
        picture.save(files[-1])
    options = ["--weights", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["generate", *files, *options, "--json"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"view0.ply", "view0.gif"}
    assert main(["generate", files[0], *options]) == 2
    assert "no multi-view diffusion" in capsys.readouterr().err
    assert main(["generate", str(tmp_path / "none.png"), *options]) == 2
    assert main(["convert", str(tmp_path / "model"), str(tmp_path / "m.safetensors"), "--json"]) == 0
    assert (tmp_path / "m.safetensors").is_file()
