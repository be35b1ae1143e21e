"""How good a generator is, how far an attack brings it back, and whether to believe the numbers."""
