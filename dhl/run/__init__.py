"""The folder of a run: outputs, model graph, fingerprints, failed results, manifest, export."""
