"""Defenses against attacks over seeds and profiles: one grid, one store of cells, one leaderboard."""
