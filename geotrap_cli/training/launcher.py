"""What ``accelerate launch`` was told, in the environment of each process: what acts here, and what is refused."""

from __future__ import annotations

import os

from geotrap_cli.errors import UsageError

#: What divides work in a way that nothing here knows.
UNKNOWN = ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG")
_SAVES_MEMORY = "set model.gradient_checkpointing where memory is short"
#: Settings of FSDP that would not act, with the values that ask for nothing, and what to do instead.
FSDP_SETTINGS = {
    "OFFLOAD_PARAMS": (("false",), f"Leave it out; {_SAVES_MEMORY}"),
    "ACTIVATION_CHECKPOINTING": (("false",), f"Leave it out; {_SAVES_MEMORY}"),
    "RESHARD_AFTER_FORWARD": (("true",), "Leave it out: weights are freed after each block and gathered again"),
    "AUTO_WRAP_POLICY": (("transformer_based_wrap",), "Leave it out: weights are divided block by block"),
    "TRANSFORMER_CLS_TO_WRAP": ((), "Leave it out: the blocks are those of the generator"),
    "IGNORED_MODULES": ((), "Leave it out: all weights are divided"),
}


def divides_weights() -> bool:
    """Whether weights are to be divided over the processes, not batches alone: FSDP."""
    return _is_set("ACCELERATE_USE_FSDP")


def check_launcher() -> None:
    """Refuse what the launcher was told and would not act here.

    Raises:
        UsageError: There is such a setting.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", ""):
        what = f"the launcher was told mixed precision {precision}, which the profile decides here"
        raise UsageError(what, "Launch with --mixed_precision no and set train.precision")
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if backend not in ("no", ""):
        what = f"the launcher was told to compile by {backend}, which the profile decides here"
        raise UsageError(what, "Launch without --dynamo_backend and set device.compile")
    for name in UNKNOWN:
        if _is_set(f"ACCELERATE_USE_{name}"):
            what = f"the launcher was told to use {name}, which does not act here"
            raise UsageError(what, "Launch with --multi_gpu, or with --use_fsdp --fsdp_version 2")
    if divides_weights():
        _check_fsdp()


def _check_fsdp() -> None:
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        what = f"the launcher was told to use FSDP {version}, and weights are divided by FSDP 2 only"
        raise UsageError(what, "Launch with --use_fsdp --fsdp_version 2")
    for name, (idle, hint) in FSDP_SETTINGS.items():
        value = os.environ.get(f"FSDP_{name}", "")
        if value and value.lower() not in idle:
            raise UsageError(f"the launcher was told --fsdp_{name.lower()} {value}, which does not act here", hint)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true")
