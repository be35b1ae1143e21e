"""Tables, plots and pictures that people read."""
