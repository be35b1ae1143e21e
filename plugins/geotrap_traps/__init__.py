"""Traps: one a file, the file name is the key."""
