"""The report of a comparison as one HTML file that opens from disk, without a network."""
