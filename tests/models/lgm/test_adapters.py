"""Adapters go on, learn, are saved and come back with nothing but peft's and diffusers' own calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from geotrap_cli.models.lgm.model import LGM

LINEAR_AND_CONV = ["qkv", "proj", "conv1", "conv2", "conv_in", "conv_out", "downsample", "upsample", "conv"]
LORA_FILE = "pytorch_lora_weights.safetensors"


def twin(model: LGM) -> LGM:
    other = LGM.from_config(dict(model.config))
    other.load_state_dict(model.state_dict())
    return other


def trained(model: LGM, images: Tensor) -> Tensor:
    """Two steps on the adapter; the adapted output."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()
    return model(images).detach()


def test_lora_on_linear_and_conv_is_the_identity_at_first(miniature: LGM, images: Tensor) -> None:
    expected = miniature(images)
    miniature.add_adapter(LoraConfig(r=2, target_modules=LINEAR_AND_CONV))
    assert torch.equal(miniature(images), expected)
    trainable = [name for name, p in miniature.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    adapted = {name.split(".lora_")[0] for name in trainable}
    assert {"conv", "unet.conv_in", "unet.mid_block.attns.0.attn.qkv", "unet.up_blocks.0.upsample"} <= adapted


def test_lora_round_trip_through_diffusers_and_plain_peft(miniature: LGM, images: Tensor, tmp_path: Path) -> None:
    config = LoraConfig(r=2, lora_alpha=4, target_modules=LINEAR_AND_CONV)
    by_diffusers, by_peft = twin(miniature), twin(miniature)
    before = miniature(images)
    miniature.add_adapter(config, adapter_name="default")
    after = trained(miniature, images)
    assert not torch.allclose(after, before)
    miniature.save_lora_adapter(tmp_path, adapter_name="default")

    by_diffusers.load_lora_adapter(tmp_path, prefix=None, weight_name=LORA_FILE, use_safetensors=True)
    torch.testing.assert_close(by_diffusers(images), after)

    inject_adapter_in_model(config, by_peft)
    result: Any = set_peft_model_state_dict(by_peft, load_file(tmp_path / LORA_FILE))
    assert not result.unexpected_keys
    torch.testing.assert_close(by_peft(images), after)


def test_peft_model_round_trip_and_merge(miniature: LGM, images: Tensor, tmp_path: Path) -> None:
    untouched = twin(miniature)
    wrapped = get_peft_model(miniature, LoraConfig(r=2, target_modules=["qkv", "proj", "conv1"]))
    after = trained(wrapped, images)
    wrapped.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(untouched, tmp_path)(images), after)
    merged = wrapped.merge_and_unload()
    assert isinstance(merged, LGM)
    torch.testing.assert_close(merged(images), after, rtol=1e-4, atol=1e-5)


def test_deleting_the_adapter_restores_the_model(miniature: LGM, images: Tensor) -> None:
    before, names = miniature(images), list(miniature.state_dict())
    miniature.add_adapter(LoraConfig(r=2, target_modules=["qkv", "conv2"]))
    trained(miniature, images)
    miniature.unload_lora()
    assert list(miniature.state_dict()) == names
    assert torch.equal(miniature(images), before)
