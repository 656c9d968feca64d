"""A run: its folder and outputs, the model graph, fingerprints, failed results, the manifest."""
