"""GeoTrap: make malicious fine-tuning of 3D Gaussian generators fail, and find out whether it does."""

__version__ = "0.1.0"
