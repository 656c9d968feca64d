"""Metrics, untrained methods, and the evaluation of every method on the test images."""
