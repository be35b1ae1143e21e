"""Which attacks and controls a command line or a grid asks for, as a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geotrap_cli.errors import UsageError

if TYPE_CHECKING:
    from geotrap_cli.options import CommonOptions
    from geotrap_cli.profile.load import LoadedProfile


@dataclass(frozen=True)
class AttackChoice:
    """What the command line says about attacks.

    Attributes:
        named: Attacks by key; none, without a suite, stands for those of the profile.
        suite: Name of a suite.
        no_controls: Whether no control is run.
        tune: Trials of the search for the best setting; None: those of the profile.
    """

    named: tuple[str, ...] = ()
    suite: str | None = None
    no_controls: bool = False
    tune: int | None = None

    @property
    def stated(self) -> bool:
        """Whether it says anything, which a run that is continued cannot follow."""
        return bool(self.named or self.suite or self.no_controls or self.tune)

    def load(self, options: CommonOptions, say: Callable[[str], None]) -> LoadedProfile:
        """Return the profile with the chosen attacks and controls.

        Args:
            options: What the user asked for besides.
            say: Takes a line for everything that is left out.

        Raises:
            UsageError: The suite or an attack is unknown, the profile is wrong, or nothing of the suite can run.
        """
        chosen = tuple(dict.fromkeys((*self.named, *suite_keys(self.suite))))
        if chosen:
            options = options.with_overrides(f"attack.methods={','.join(chosen)}")
        if self.tune is not None:
            options = options.with_overrides(f"attack.tune.trials={self.tune}")
        loaded = options.load_profile("attack", seed_table="attack", suite=self.suite is not None)
        if options.resume:
            return loaded
        return self._without_misfits(self._with_suite(loaded), say)

    def _without_misfits(self, loaded: LoadedProfile, say: Callable[[str], None]) -> LoadedProfile:
        """Take those attacks of the suite out of the profile that cannot run; one that is named is refused later."""
        from geotrap_cli.training.attack_plan import left_out

        refused = self.named if self.suite else loaded.profile.attack.methods
        found = {name: why for name, why in left_out(loaded.profile).items() if name not in refused}
        for name, why in found.items():
            say(f"{name} is left out: {why}")
        kept = tuple(key for key in loaded.profile.attack.methods if key not in found)
        if not kept:
            raise UsageError(f"no attack of the suite {self.suite} can run", "Name attacks that can")
        return with_attack_fields(loaded, {"methods": kept}, loaded.origins["attack.methods"])

    def _with_suite(self, loaded: LoadedProfile) -> LoadedProfile:
        """Choose as the suite does where the profile leaves the choice; ``--no-controls`` goes before both."""
        if self.suite:
            from geotrap_cli.suites import SUITES

            suite = SUITES[self.suite]
            origin = f"--suite {self.suite}"
            loaded = with_attack_options(loaded, suite.options, origin)
            fields = {name: value for name, value in suite.fields.items() if _is_default(loaded, name)}
            loaded = with_attack_fields(loaded, fields, origin)
        if self.no_controls:
            return with_attack_fields(loaded, {"controls": (), "control_attacks": ()}, "--no-controls")
        return loaded


def _is_default(loaded: LoadedProfile, name: str) -> bool:
    """Whether a field of ``[attack]`` is as it is without being asked for; the profile of a run states every value."""
    table = loaded.profile.attack
    default = type(table).model_fields[name].default
    asked = loaded.origins[f"attack.{name}"].startswith(("--set", "env"))
    return not asked and bool(getattr(table, name) == default)


def suite_keys(name: str | None) -> tuple[str, ...]:
    """Return the attacks of a suite; none without a name.

    Raises:
        UsageError: There is no such suite.
    """
    if name is None:
        return ()
    from geotrap_cli.plugins import suggestion
    from geotrap_cli.suites import SUITES

    if name not in SUITES:
        raise UsageError(f"unknown suite '{name}'", hint=suggestion(name, SUITES))
    return SUITES[name].keys()


def with_attack_fields(loaded: LoadedProfile, fields: Mapping[str, Any], origin: str) -> LoadedProfile:
    """Return the profile with other values in ``[attack]``, which come from ``origin``."""
    return _with_attack(loaded, fields, {f"attack.{name}": origin for name in fields})


def with_attack_options(loaded: LoadedProfile, options: Mapping[str, Mapping[str, Any]], origin: str) -> LoadedProfile:
    """Return the profile with other values in the tables ``[attack.KEY]``, where these have their defaults."""
    tables, origins = dict[str, Any](), dict[str, str]()
    for key, values in options.items():
        free = {name: value for name, value in values.items() if loaded.origins[f"attack.{key}.{name}"] == "default"}
        tables[key] = loaded.profile.attack.options(key) | free
        origins |= {f"attack.{key}.{name}": origin for name in free}
    return _with_attack(loaded, tables, origins)


def _with_attack(loaded: LoadedProfile, values: Mapping[str, Any], origins: Mapping[str, str]) -> LoadedProfile:
    attack = loaded.profile.attack.model_copy(update=dict(values))
    profile = loaded.profile.model_copy(update={"attack": attack})
    return dataclasses.replace(loaded, profile=profile, origins=loaded.origins | dict(origins))
