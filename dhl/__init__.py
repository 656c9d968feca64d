"""Replication of Liu et al., *When Image Denoising Meets High-Level Vision Tasks*, IJCAI 2018."""

__version__ = "0.1.0"
