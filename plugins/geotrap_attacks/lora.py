"""LoRA: low-rank adapters beside frozen weights (Hu et al. 2021), on linear and convolution layers, through PEFT."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field
from torch import nn

from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Names

if TYPE_CHECKING:
    from geotrap_cli.models.lgm.model import LGM

#: The file name that PEFT looks for.
WEIGHTS: Final = "adapter_model.safetensors"

#: Linear layers of the attention blocks, and every convolution but the 1x1 head, by their last name component.
ATTENTION: Final = ("qkv", "proj")
CONVOLUTIONS: Final = ("conv1", "conv2", "conv_in", "conv_out", "downsample", "upsample", "shortcut")


class LoraConfig(AttackConfig):
    """Options of the LoRA attack."""

    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate.")
    rank: int = Field(default=16, ge=1, description="Rank of every adapter.")
    alpha: float = Field(default=32.0, gt=0, description="Scale: an adapter adds (alpha / rank)·B·A to its weight.")
    targets: Names = Field(
        default=(*ATTENTION, *CONVOLUTIONS),
        min_length=1,
        description="Last name components of the Linear and Conv2d modules that get an adapter.",
    )


def target_modules(model: nn.Module, targets: tuple[str, ...], key: str = "lora") -> list[str]:
    """Return full names of the Linear and Conv2d modules whose last name component is in ``targets``.

    Args:
        model: The generator.
        targets: Last name components.
        key: The attack that names them.

    Raises:
        UsageError: A target matches nothing.
    """
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    chosen = [name for name in layers if name.rpartition(".")[2] in targets]
    for target in targets:
        if not any(name.rpartition(".")[2] == target for name in layers):
            known = sorted({name.rpartition(".")[2] for name in layers})
            raise UsageError(f"attack.{key}.targets: no layer is called {target!r}", f"There are {', '.join(known)}")
    return chosen


class LoraAttack(Attack):
    """Adapters by PEFT; the base weights stay frozen."""

    key: ClassVar[str] = "lora"
    summary: ClassVar[str] = "LoRA adapters on attention and convolutions (PEFT)"
    source: ClassVar[str] = "Hu et al. 2021; the attack of IMMA and of TAR's red team"
    Config: ClassVar[type[AttackConfig]] = LoraConfig
    config: LoraConfig

    def prepare(self, model: LGM) -> dict[str, nn.Parameter]:
        """Inject the adapters into ``model`` in place and return their weights."""
        ensure_torchvision()
        import peft

        config = peft.LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            target_modules=target_modules(model, self.config.targets, self.key),
            **self.adapter_options(),
        )
        # PEFT changes the modules of `model` in place, so the caller goes on using its own object.
        self._adapted = peft.get_peft_model(model, config)
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def adapter_options(self) -> dict[str, Any]:
        """Return further options of PEFT's LoraConfig; none unless a variant has some."""
        return {}

    def save(self, model: LGM, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors, loadable by ``PeftModel.from_pretrained``."""
        del model
        from peft import get_peft_model_state_dict

        from geotrap_cli.tensor_files import write_tensors

        # Not save_pretrained, which adds an empty model card and a weights file that only its owner can read.
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, get_peft_model_state_dict(self._adapted), {"format": "pt"})
        (config,) = self._adapted.peft_config.values()
        dataclasses.replace(config, inference_mode=True).save_pretrained(str(folder))
