"""The defenses that come with geotrap, one a file; importing a defense's module is what loads it."""
