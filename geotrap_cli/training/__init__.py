"""One optimisation loop for pre-training, defense and attack, and what it needs."""
