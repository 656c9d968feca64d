"""Networks, published weights and model files."""
