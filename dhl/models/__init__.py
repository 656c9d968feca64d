"""Networks, their weights, and model files."""
