"""Profiles: TOML files that say what is protected, how, and how it is attacked and judged."""

from geotrap_cli.profile.dump import dump_toml
from geotrap_cli.profile.files import find_profile, shipped_profiles
from geotrap_cli.profile.load import DEFAULT_PROFILE, LoadedProfile, load_profile
from geotrap_cli.profile.schema import Profile

__all__ = [
    "DEFAULT_PROFILE",
    "LoadedProfile",
    "Profile",
    "dump_toml",
    "find_profile",
    "load_profile",
    "shipped_profiles",
]
