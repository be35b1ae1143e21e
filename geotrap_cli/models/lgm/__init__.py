"""LGM: a U-Net with attention across views, as a diffusers model."""
