"""Everyday objects built from a seed and rendered by ray casting: the data set that ships inside the program."""
