"""Which layers a loss is sensitive to."""
