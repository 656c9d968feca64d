"""Batches, objectives, the trainer, optimizers and devices."""
