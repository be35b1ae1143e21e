from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.data.base import ObjectRecord, PosedViews
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate, reference_clouds
from geotrap_cli.evaluation.perceptual import LpipsTerm
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.render import render

SIZE = 32
SETTINGS = EvaluationSettings(views=3, batch_size=2, input_size=16, output_size=SIZE)
COLOURS = {"a": (0.9, 0.1, 0.1), "b": (0.1, 0.8, 0.1), "c": (0.1, 0.2, 0.9)}


def ball(colour: Sequence[float], opacity: float = 0.99) -> GaussianBatch:
    """One round Gaussian at the origin."""
    values = [0.0, 0.0, 0.0, opacity, 0.15, 0.15, 0.15, 1.0, 0.0, 0.0, 0.0, *colour]
    return GaussianBatch(torch.tensor([[values]]))


class Balls:
    """Objects that are one coloured ball each, seen from eight cameras around it; ``b`` and ``c`` share a group."""

    records = (
        ObjectRecord("a", "a", "ball", 8),
        ObjectRecord("b", "bc", "ball", 8),
        ObjectRecord("c", "bc", "ball", 8),
    )

    def __init__(self, opacity: float = 0.99) -> None:
        self.opacity = opacity

    def rings(self, id: str) -> list[list[int]]:
        return [[0, 2, 4, 6]]

    def views(self, id: str, indices: Sequence[int], size: int) -> PosedViews:
        viewmats = orbit_viewmats(0.0, torch.tensor([45.0 * index for index in indices]))
        intrinsics = intrinsics_from_fov(math.radians(49.1), size, size).expand(len(indices), 3, 3)
        cameras = Cameras(viewmats, intrinsics, size, size)
        seen = render(ball(COLOURS[id], self.opacity), Cameras(viewmats[None], intrinsics[None], size, size))
        rgb = torch.tensor(COLOURS[id]).expand(len(indices), size, size, 3)
        return PosedViews(torch.cat([rgb, seen.alpha[0, ..., None]], dim=-1), cameras)

    def fingerprint(self) -> str:
        return "balls"


class Painter(nn.Module):
    """A generator that draws the ball in the mean colour of what its input shows of it, or in a wrong way."""

    input_size, num_views, num_gaussians = 16, 4, 1

    def __init__(self, flaw: str = "none") -> None:
        super().__init__()
        self.flaw = flaw
        self.part = nn.Dropout()
        self.part.eval()
        self.seen_training: list[bool] = []
        self.batches: list[int] = []

    def units(self) -> dict[str, list[str]]:
        return {}

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        self.seen_training.append(self.training)
        self.batches.append(len(images))
        assert not torch.is_grad_enabled()
        colours = [(0.0, 0.0, 0.0) if self.flaw == "black" else self.colour(image) for image in images]
        opacity = 0.0 if self.flaw == "blank" else 0.99
        batch = GaussianBatch(torch.cat([ball(colour, opacity).activated for colour in colours]))
        if self.flaw == "nan" and len(images) == 1:
            batch.activated[0, 0, 1] = math.nan
        return batch

    @staticmethod
    def colour(image: Tensor) -> Sequence[float]:
        middle = image[0, :3, 7:9, 7:9].mean((1, 2))
        strongest = int(middle.argmax())
        return next(colour for colour in COLOURS.values() if max(range(3), key=colour.__getitem__) == strongest)


def score(model: nn.Module, ids: Sequence[str] = ("a", "b", "c"), **options: object) -> Evaluation:
    return evaluate(model, Balls(), ids, SETTINGS, **options)  # type: ignore[arg-type]


def test_a_perfect_model_scores_as_one() -> None:
    result = score(Painter())
    assert [item.id for item in result.scores] == ["a", "b", "c"]
    assert result.groups == ["a", "bc", "bc"]
    for item in result.scores:
        assert item.category == "ball"
        assert item.metrics["foreground_psnr"] > 45
        assert item.metrics["ssim"] > 0.999
        assert item.metrics["alpha_iou"] == 1.0


def test_a_blank_model_scores_the_floor() -> None:
    for item in score(Painter("blank")).scores:
        assert item.metrics["foreground_psnr"] == pytest.approx(item.metrics["white_foreground_psnr"])
        assert item.metrics["foreground_psnr"] < item.metrics["psnr"]
        assert item.metrics["alpha_iou"] == 0


def test_scores_belong_to_their_objects_in_any_order() -> None:
    forward, backward = score(Painter("black")), score(Painter("black"), ids=("c", "b", "a"))
    assert [item.id for item in backward.scores] == ["c", "b", "a"]
    assert forward.values("psnr") == pytest.approx(backward.values("psnr")[::-1], rel=1e-5)


def test_batch_size_changes_no_score() -> None:
    model = Painter("black")
    single = EvaluationSettings(views=3, batch_size=1, input_size=16, output_size=SIZE)
    one = evaluate(model, Balls(), ["a", "b", "c"], single)
    assert model.batches == [1, 1, 1]
    assert one.values("foreground_psnr") == pytest.approx(score(model).values("foreground_psnr"), rel=1e-5)


def test_mean_weighs_groups_alike() -> None:
    result = score(Painter("blank"))
    a, b, c = result.values("psnr")
    assert result.means()["psnr"] == pytest.approx((a + (b + c) / 2) / 2)


def test_modes_are_restored_part_by_part() -> None:
    model = Painter()
    score(model)
    assert model.seen_training == [False, False]
    assert model.training
    assert not model.part.training


def test_modes_are_restored_after_an_error() -> None:
    model = Painter("nan")
    with pytest.raises(NonFiniteError, match="'c'"):
        score(model)
    assert model.training


def test_renders_are_kept_on_request() -> None:
    assert score(Painter()).renders == {}
    renders = score(Painter(), keep_renders=2).renders
    assert list(renders) == ["a", "b"]
    assert renders["b"].rgb.shape == (3, SIZE, SIZE, 3)
    assert renders["b"].gt_rgb[0, SIZE // 2, SIZE // 2].argmax() == 1


def test_an_invisible_object_is_named() -> None:
    with pytest.raises(GeotrapError, match="'a' is invisible"):
        evaluate(Painter("blank"), Balls(opacity=0.0), ["a"], SETTINGS)


def test_unknown_and_missing_objects_are_refused() -> None:
    with pytest.raises(UsageError, match="'z'"):
        score(Painter(), ids=["z"])
    with pytest.raises(UsageError):
        score(Painter(), ids=[])


class FakeScorer(LpipsTerm):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.name = "lpips"

    def forward(self, rgb: Tensor, gt_rgb: Tensor) -> Tensor:
        return (rgb - gt_rgb).abs().amax((-3, -2, -1))


def test_lpips_is_there_exactly_when_a_scorer_is() -> None:
    assert "lpips" not in score(Painter()).scores[0].metrics
    result = score(Painter("black"), scorer=FakeScorer())
    assert result.scores[0].metrics["lpips"] == pytest.approx(0.9, abs=0.05)


class Linear(nn.Module):
    """A generator with weights, to see the number format of its forward pass."""

    input_size, num_views, num_gaussians = 16, 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 14)
        self.formats: list[torch.dtype] = []

    def units(self) -> dict[str, list[str]]:
        return {}

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        raw = self.layer(torch.ones(len(images), 4, 1))
        self.formats.append(raw.dtype)
        return activate(raw)


def test_autocast_reaches_the_network_and_not_the_renders() -> None:
    model = Linear()
    settings = EvaluationSettings(views=1, batch_size=1, input_size=16, output_size=SIZE, autocast=torch.bfloat16)
    result = evaluate(model, Balls(), ["a"], settings, keep_renders=1)
    assert model.formats == [torch.bfloat16]
    assert result.renders["a"].rgb.dtype is torch.float32
    evaluate(model, Balls(), ["a"], SETTINGS)
    assert model.formats[-1] is torch.float32


def test_shape_is_compared_with_the_reference_of_the_same_object() -> None:
    references = reference_clouds(Painter(), Balls(), ["a", "b"], SETTINGS)  # type: ignore[arg-type]
    for item in score(Painter("black"), ids=("a", "b"), references=references).scores:
        # Another colour, the same shape.
        assert (item.metrics["chamfer"], item.metrics["fscore"]) == (0.0, 1.0)
    for item in score(Painter("blank"), ids=("a", "b"), references=references).scores:
        assert (item.metrics["chamfer"], item.metrics["fscore"]) == (math.inf, 0.0)
    assert "chamfer" not in score(Painter(), ids=("a",)).scores[0].metrics


def test_an_observer_sees_the_gaussians_of_every_object_once() -> None:
    seen: list[str] = []

    def observe(batch: GaussianBatch, ids: Sequence[str]) -> None:
        assert len(batch) == len(ids)
        seen.extend(ids)

    score(Painter(), ids=("c", "a", "b"), observe=observe)
    assert seen == ["c", "a", "b"]
