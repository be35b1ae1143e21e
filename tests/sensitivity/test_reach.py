from __future__ import annotations

import pytest
import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.sensitivity.reach import reached_units, units_without_attention


@pytest.fixture(scope="module")
def big() -> LGM:
    with torch.device("meta"):
        return LGM.from_preset("big")


def test_units_cover_each_tensor_of_big_once(big: LGM) -> None:
    units = big.units()
    names = [name for members in units.values() for name in members]
    assert (len(units), len(names)) == (90, 376)
    assert sorted(names) == sorted(name for name, _ in big.named_parameters())


def test_attention_lora_leaves_58_units_of_big_alone(big: LGM) -> None:
    reached = reached_units(big, {"targets": ["qkv", "proj"]})
    assert len(set(big.units()) - reached) == 58
    assert {unit.rpartition(".")[2] for unit in reached} == {"qkv", "proj"}


def test_names_match_exactly(big: LGM) -> None:
    # As a substring, `conv` is in 122 of the 376 tensors.
    assert reached_units(big, {"targets": ["conv"]}) == {"conv"}
    assert "conv" not in reached_units(big, {"targets": ["conv1", "conv2", "conv_in", "conv_out"]})


def test_a_full_attack_reaches_everything(big: LGM) -> None:
    assert reached_units(big, {}, attack="full") == frozenset(big.units())


def test_the_model_and_the_random_numbers_are_left_alone(micro: LGM) -> None:
    before = [name for name, _ in micro.named_parameters()]
    state = torch.random.get_rng_state()
    reached = reached_units(micro, {})
    assert "unet.norm_out" not in reached
    assert "unet.conv_in" in reached
    assert [name for name, _ in micro.named_parameters()] == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fused_head_is_followed(micro: LGM) -> None:
    assert reached_units(micro.fuse_head(), {"targets": ["conv_out"]}) == {"unet.conv_out"}


def test_a_target_that_does_not_exist_is_refused(micro: LGM) -> None:
    with pytest.raises(UsageError, match=r"attack\.lora\.targets: no layer is called 'query'"):
        reached_units(micro, {"targets": ["query"]})


def test_blocks_without_attention(big: LGM) -> None:
    found = units_without_attention(big.units(), big.place)
    blocks = {".".join(unit.split(".")[:3]) for unit in found}
    assert blocks == {*(f"unet.down_blocks.{i}" for i in range(3)), *(f"unet.up_blocks.{i}" for i in (3, 4))}
    assert "unet.down_blocks.2.downsample" in found
    assert not {"unet.conv_in", "unet.norm_out", "conv", "unet.mid_block.nets.0"} & found


def test_block_numbers_are_not_prefixes_of_each_other() -> None:
    units = ["unet.down_blocks.1.nets.0", "unet.down_blocks.10.attns.0.norm"]
    assert units_without_attention(units, LGM.place) == {"unet.down_blocks.1.nets.0"}
