"""Metrics, untrained methods, inference, and the evaluation of every method."""
