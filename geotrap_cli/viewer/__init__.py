"""``geotrap view``: what an attack makes of an object, with and without the defense, as splats in a browser."""
