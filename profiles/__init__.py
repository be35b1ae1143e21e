"""The profiles that ship, as TOML files beside this one."""
