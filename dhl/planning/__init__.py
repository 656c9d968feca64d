"""Estimates of the time, disk and downloads that a run needs."""
