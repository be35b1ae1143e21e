"""Weights by hub id, out of a cache that was laid out by hand; the network is never asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import save_file

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.models.hub import HubId
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import WeightsSource, find_settings, load_generator, save_generator, weights_hash

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Cache:
    """A hub cache with snapshots of repositories, in the layout of huggingface_hub."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, repo: str, revision: str = "main", commit: str = COMMIT) -> Path:
        folder = self.root / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit)
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True, exist_ok=True)
        return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.utils._http.constants.HF_HUB_OFFLINE", True)
    return Cache(tmp_path / "hub")


def fill(snapshot: Path, model: LGM) -> None:
    save_generator(model, snapshot.parent / "made")
    for file in (snapshot.parent / "made").iterdir():
        file.rename(snapshot / file.name)


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("ashawkey/LGM", "ashawkey/LGM", None),
        ("a-b/c.d_e@v1.0", "a-b/c.d_e", "v1.0"),
        ("a/b@refs/pr/3", "a/b", "refs/pr/3"),
    ],
)
def test_ids_are_told_from_paths(text: str, repo: str, revision: str | None) -> None:
    assert HubId.parse(text) == HubId(repo, revision)
    assert str(HubId.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["model", "a/b/c", "./a", "../a", "/a/b", "a/b.safetensors", "a/b.pth", "a b/c", "~/x"]
)
def test_paths_are_no_ids(text: str) -> None:
    assert HubId.parse(text) is None


def test_a_cached_model_folder_loads_by_id_and_by_revision(cache: Cache, miniature: LGM) -> None:
    fill(cache.add("someone/tiny"), miniature)
    assert weights_hash(load_generator("nano", "someone/tiny")) == weights_hash(miniature)
    torch.nn.init.ones_(miniature.conv.bias)
    fill(cache.add("someone/tiny", "v2", commit="f" * 40), miniature)
    assert torch.equal(load_generator("nano", "someone/tiny@v2").conv.bias, torch.ones(14))
    family, settings = find_settings(WeightsSource("someone/tiny", "nano"))
    assert family.key == "lgm" and settings["input_size"] == 16


def test_an_official_file_is_found_by_its_published_name(cache: Cache) -> None:
    torch.manual_seed(0)
    model = LGM.from_preset("nano")
    save_file({name: value.half() for name, value in model.state_dict().items()}, cache.add("ashawkey/LGM") / (
        "model_fp16_fixrot.safetensors"
    ))  # fmt: skip
    loaded = load_generator("nano", "ashawkey/LGM")
    assert torch.equal(loaded.conv.weight, model.conv.weight.half().float())


def test_the_old_rotation_asks_for_the_old_file(cache: Cache) -> None:
    torch.manual_seed(0)
    model = LGM.from_preset("nano")
    save_file(model.state_dict(), cache.add("ashawkey/LGM") / "model.safetensors")
    loaded = load_generator("nano", "ashawkey/LGM", old_rotation=True)
    assert loaded.config["old_rotation"] and loaded.activations.quats == "across"
    with pytest.raises(UsageError, match="model_fp16_fixrot"):
        load_generator("nano", "ashawkey/LGM")


def test_what_is_not_cached_says_what_to_do(cache: Cache) -> None:
    with pytest.raises(UsageError, match=r"nobody/nothing is no local path.*cannot be reached") as caught:
        load_generator("nano", "nobody/nothing")
    assert "HF_HUB_OFFLINE" in str(caught.value.hint) and "\n" not in str(caught.value)


def test_a_pickle_is_not_opened_but_named_with_the_command_that_does(cache: Cache) -> None:
    (cache.add("szymanowiczs/splatter-image-v1") / "model_latest.pth").write_bytes(b"\x80\x02")
    with pytest.raises(UsageError, match="geotrap convert szymanowiczs/splatter-image-v1"):
        load_generator("objaverse", "szymanowiczs/splatter-image-v1", family="splatter_image")


def test_a_config_of_something_else_is_passed_over(cache: Cache) -> None:
    (cache.add("someone/unet") / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(UsageError, match="no weights that fit"):
        load_generator("nano", "someone/unet")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RepositoryNotFoundError, "neither a local path nor a repository"),
        (RevisionNotFoundError, "has no revision v9"),
        (GatedRepoError, "is gated"),
        (HfHubHTTPError, "The hub cannot give"),
        (RemoteEntryNotFoundError, "holds no weights that fit"),
    ],
)
def test_answers_of_the_hub_become_one_line(monkeypatch: pytest.MonkeyPatch, error: Any, told: str) -> None:
    def answer(*_: Any, **__: Any) -> str:
        # Made without the answer of a server, which the constructor wants.
        raised = error.__new__(error)
        raised.args = ("first line\nsecond line",)
        raise raised

    monkeypatch.setattr("huggingface_hub.hf_hub_download", answer)
    with pytest.raises(GeotrapError, match=told) as caught:
        load_generator("nano", "someone/model@v9")
    assert "\n" not in str(caught.value) and caught.value.hint
