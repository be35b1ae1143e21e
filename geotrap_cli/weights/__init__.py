"""Generator weights that ship with the package, one folder a preset."""
