"""The tables of the optimizer loops: ``[train]`` and ``[pretrain]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from geotrap_cli.profile.base import Beta, Count, Fraction, NonNegative, Positive, Seed, Table


class TrainTable(Table):
    """``[train]``: steps, batches and optimizer of the defense (and of pretraining)."""

    steps: Count = Field(default=120, description="Length of the training (optimizer steps).")
    batch_size: Count = Field(
        default=4, description="Objects a step; the defense takes as many target and as many source objects (objects)."
    )
    supervised_views: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Views of each object that a rendering loss compares (views)."
    )
    lr: Positive = Field(default=1e-3, description="Peak learning rate of AdamW.")
    weight_decay: NonNegative = Field(default=0.05, description="Decoupled weight decay of AdamW.")
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = Field(
        default=(0.9, 0.95), description="AdamW's decay rates of the first and second moment."
    )
    schedule: Literal["constant", "cosine", "linear", "one_cycle", "wsd"] = Field(
        default="cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=10, description="Steps over which the learning rate rises from zero (optimizer steps)."
    )
    clip_norm: Positive = Field(
        default=1.0, description="Largest global gradient norm; longer gradients are scaled down."
    )
    source_ratio: Fraction = Field(
        default=0.8, description="Share p of the distillation in the total loss; the traps have 1 - p."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Arithmetic of the generator; auto: bf16 where the device is fast at it."
    )
    checkpoint_every: Count = Field(default=50, description="Interval of checkpoints (optimizer steps).")
    seed: Seed = Field(default=0, description="Seed of batches and of every random choice in the training.")
    trap_weight: NonNegative = Field(default=10.0, description="Weight of the aggregated traps in the total loss.")
    log_every: Count = Field(default=10, description="Interval of lines in metrics.jsonl (optimizer steps).")


class PretrainTable(Table):
    """``[pretrain]``: what only pretraining from scratch needs."""

    surface_weight: NonNegative = Field(
        default=1.0, description="Weight of the warm-up loss that pulls Gaussians onto the visible surface."
    )
    surface_fraction: Fraction = Field(default=0.3, description="Share of the steps over which that warm-up fades.")
    surface_floor: Fraction = Field(
        default=0.0, description="Share of its weight to which it fades; without it rendering loses depth again."
    )
    rendering_from: Fraction = Field(
        default=0.0, description="Share of the steps before which nothing is rendered while the warm-up lasts."
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw",
        description="Optimizer: AdamW, or Muon for the matrices of inner layers and AdamW for the rest.",
    )
    matrix_lr: Positive = Field(default=0.02, description="Peak learning rate of Muon.")
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.999, description="Decay of the running mean of the weights, which is what is saved; 0: none."
    )
    eval_every: Count = Field(default=500, description="Interval of evaluations on held-out objects (optimizer steps).")
