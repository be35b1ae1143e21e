from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from torch import Tensor

from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.models import loading
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator, save_generator, weights_hash


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_random_weights_follow_the_seed() -> None:
    hashes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        hashes.append(weights_hash(load_generator("nano", "random")))
    assert hashes[0] == hashes[1] != hashes[2]


def test_round_trip_is_bit_exact_and_the_folder_wins_over_the_preset(miniature: LGM, tmp_path: Path) -> None:
    save_generator(miniature, tmp_path / "model")
    assert files(tmp_path / "model") == ["config.json", "diffusion_pytorch_model.safetensors"]
    loaded = load_generator("big", str(tmp_path / "model"))
    assert loaded.input_size == 16
    assert weights_hash(loaded) == weights_hash(miniature)
    assert not loaded.training
    assert files(tmp_path) == ["model"]


def test_diffusers_itself_reads_and_writes_the_same_folder(miniature: LGM, images: Tensor, tmp_path: Path) -> None:
    expected = miniature(images)
    save_generator(miniature, tmp_path / "ours")
    assert torch.equal(LGM.from_pretrained(tmp_path / "ours")(images), expected)
    miniature.save_pretrained(tmp_path / "theirs")
    assert torch.equal(load_generator("nano", str(tmp_path / "theirs"))(images), expected)


def test_half_precision_variant(miniature: LGM, images: Tensor, tmp_path: Path) -> None:
    save_generator(miniature, tmp_path / "half", variant="fp16", dtype=torch.float16)
    assert files(tmp_path / "half") == ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
    loaded = load_generator("nano", str(tmp_path / "half"))
    assert next(loaded.parameters()).dtype == torch.float32
    torch.testing.assert_close(loaded(images), miniature(images), rtol=0.02, atol=0.02)
    assert weights_hash(LGM.from_pretrained(tmp_path / "half", variant="fp16")) == weights_hash(loaded)


def test_channels_last_weights_are_saved(miniature: LGM, tmp_path: Path) -> None:
    before = weights_hash(miniature)
    save_generator(miniature.to(memory_format=torch.channels_last), tmp_path / "model")
    assert weights_hash(miniature) == before == weights_hash(load_generator("nano", str(tmp_path / "model")))


def test_the_hash_sees_every_change(miniature: LGM) -> None:
    hashes = {weights_hash(miniature)}
    with torch.no_grad():
        miniature.conv.bias[0] = 0.0
        hashes.add(weights_hash(miniature))
        miniature.conv.bias[0] = -0.0
        hashes.add(weights_hash(miniature))
    hashes.add(weights_hash(miniature.half()))
    assert len(hashes) == 4


def test_saving_replaces_a_model_but_nothing_else(miniature: LGM, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_generator(miniature, folder)
    torch.nn.init.ones_(miniature.conv.bias)
    save_generator(miniature, folder)
    assert torch.equal(load_generator("nano", str(folder)).conv.bias, torch.ones(14))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        save_generator(miniature, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="is a file"):
        save_generator(miniature, folder / "notes.txt")


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), None), (1e6, torch.float16)])
def test_broken_weights_are_not_saved(miniature: LGM, tmp_path: Path, value: float, dtype: torch.dtype | None) -> None:
    torch.nn.init.constant_(miniature.conv.bias, value)
    with pytest.raises(NonFiniteError, match=r"conv\.bias"):
        save_generator(miniature, tmp_path / "model", dtype=dtype)
    assert files(tmp_path) == []


def test_a_model_with_adapters_is_not_saved(miniature: LGM, tmp_path: Path) -> None:
    miniature.add_adapter(LoraConfig(r=2, target_modules=["qkv"]))
    with pytest.raises(GeotrapError, match="Merge or unload"):
        save_generator(miniature, tmp_path / "model")


def test_an_interrupted_save_keeps_the_old_model(
    miniature: LGM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    save_generator(miniature, folder)
    before = weights_hash(miniature)
    torch.nn.init.ones_(miniature.conv.bias)

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("geotrap_cli.models.folder.write_tensors", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_generator(miniature, folder)
    assert weights_hash(load_generator("nano", str(folder))) == before
    assert files(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ("{", r"config\.json cannot be read"),
        ("[]", "describes 'list', not a generator"),
        ('{"_class_name": "UNet2DModel"}', "describes 'UNet2DModel'"),
        ('{"channels": 4}', r"config\.json: LGM has no setting channels"),
        ('{"splat_size": 7}', r"config\.json: LGM setting splat_size = 7"),
    ],
)
def test_bad_configs(miniature: LGM, tmp_path: Path, edit: str, told: str) -> None:
    save_generator(miniature, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(edit)
    with pytest.raises(UsageError, match=told):
        load_generator("nano", str(tmp_path / "model"))


def test_weights_that_do_not_fit_their_config(miniature: LGM, tmp_path: Path) -> None:
    save_generator(miniature, tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fused_head": True}))
    with pytest.raises(UsageError, match=r"2 unexpected \(conv\.bias, conv\.weight\).*config\.json"):
        load_generator("nano", str(tmp_path / "model"))


def test_folders_without_one_clear_weights_file(miniature: LGM, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(UsageError, match=r"config\.json cannot be read"):
        load_generator("nano", str(tmp_path))
    save_generator(miniature, folder)
    only = folder / "diffusion_pytorch_model.safetensors"
    for variant in ("fp16", "bf16"):
        (folder / f"diffusion_pytorch_model.{variant}.safetensors").write_bytes(only.read_bytes())
    assert weights_hash(load_generator("nano", str(folder))) == weights_hash(miniature)
    only.unlink()
    with pytest.raises(UsageError, match=r"several variants \(.*bf16.*fp16"):
        load_generator("nano", str(folder))
    for rest in folder.glob("*.safetensors"):
        rest.unlink()
    with pytest.raises(UsageError, match="no weights"):
        load_generator("nano", str(folder))


def test_shipped_weights_are_found_by_preset(tmp_path: Path, miniature: LGM, monkeypatch: pytest.MonkeyPatch) -> None:
    save_generator(miniature, tmp_path / "nano", variant="fp16", dtype=torch.float16)
    monkeypatch.setattr(loading.importlib.resources, "files", lambda _: tmp_path)
    assert load_generator("nano", "shipped").input_size == 16
    with pytest.raises(UsageError, match=r"preset big \(shipped: nano\)"):
        load_generator("big", "shipped")


def test_big_ships_without_weights() -> None:
    with pytest.raises(UsageError, match="No weights are shipped for preset big"):
        load_generator("big", "shipped")


def test_weights_that_are_nowhere_or_pickled(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not exist"):
        load_generator("nano", str(tmp_path / "absent"))
    (tmp_path / "model.pth").write_bytes(b"\x80\x02")
    with pytest.raises(UsageError, match="run code"):
        load_generator("nano", str(tmp_path / "model.pth"))
    with pytest.raises(UsageError, match="no model preset"):
        load_generator("huge", "random")


def test_a_home_of_nobody_is_no_path() -> None:
    with pytest.raises(UsageError, match="Weights ~nobody-at-all/x do not exist"):
        load_generator("nano", "~nobody-at-all/x")
