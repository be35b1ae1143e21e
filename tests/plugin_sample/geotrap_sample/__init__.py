"""A trap and an attack for geotrap, to copy from."""
