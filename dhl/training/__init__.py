"""Batches, objectives, the training loop, optimizers and devices."""
