"""LoRA: low-rank adapters beside frozen weights (Hu et al. 2021), on linear and convolution layers, through PEFT."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field
from torch import nn

from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Names
from geotrap_cli.training.merged_lora import merge_in_forward

if TYPE_CHECKING:
    from geotrap_cli.models.generator import GaussianGenerator

#: The file name that PEFT looks for.
WEIGHTS: Final = "adapter_model.safetensors"

#: Kinds of layers, as ``adapter_layers`` of a generator has them.
Group = Literal["attention", "conv"]
GROUPS: Final[tuple[Group, ...]] = ("attention", "conv")


class LoraConfig(AttackConfig):
    """Options of the LoRA attack."""

    lr: float = Field(default=1e-3, gt=0, description="Peak learning rate.")
    rank: int = Field(default=16, ge=1, description="Rank of every adapter.")
    alpha: float = Field(default=32.0, gt=0, description="Scale: an adapter adds (alpha / rank)·B·A to its weight.")
    targets: Names | None = Field(
        default=None,
        min_length=1,
        description="Last name components of the Linear and Conv2d modules that get an adapter; unset: every layer of "
        "attention and every convolution but the 1x1 that ends the head.",
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
    #: What gets adapters where no names are given.
    groups: tuple[Group, ...] = GROUPS

    def needs_whole_weights(self) -> str | None:
        """Adapters: they are small, and PEFT looks after them and the frozen weights in one piece."""
        return "adapters are kept in one piece"

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Inject the adapters into ``model`` in place and return their weights."""
        ensure_torchvision()
        import peft

        config = peft.LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            target_modules=self.modules(model),
            **self.adapter_options(),
        )
        # PEFT changes the modules of `model` in place, so the caller goes on using its own object.
        self._adapted = peft.get_peft_model(model, config)
        merge_in_forward(model)
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def modules(self, model: GaussianGenerator) -> list[str]:
        """Return full names of the modules that get an adapter.

        Raises:
            UsageError: A name of ``targets`` matches nothing, or the generator has no layer of the wanted kind.
        """
        if self.config.targets is not None:
            return target_modules(model, self.config.targets, self.key)
        layers = model.adapter_layers()
        chosen = {name for group in self.groups for name in layers[group]}
        if not chosen:
            what = f"attack.{self.key}: {model.family} of this size has no layer of {' or '.join(self.groups)}"
            raise UsageError(what, f"Leave the attack out, or name attack.{self.key}.targets")
        return [name for name, _ in model.named_modules() if name in chosen]

    def adapter_options(self) -> dict[str, Any]:
        """Return further options of PEFT's LoraConfig; none unless a variant has some."""
        return {}

    def save(self, model: GaussianGenerator, folder: Path) -> None:
        """Write adapter_config.json and adapter_model.safetensors, loadable by ``PeftModel.from_pretrained``."""
        del model
        from peft import get_peft_model_state_dict

        from geotrap_cli.tensor_files import write_tensors

        # Not save_pretrained, which adds an empty model card and a weights file that only its owner can read.
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, get_peft_model_state_dict(self._adapted), {"format": "pt"})
        (config,) = self._adapted.peft_config.values()
        dataclasses.replace(config, inference_mode=True).save_pretrained(str(folder))
