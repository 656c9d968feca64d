"""A method of your own: wavelet shrinkage, by scikit-image."""

import numpy as np
from skimage.restoration import denoise_wavelet


def wavelet(noisy: np.ndarray, *, sigma: float) -> np.ndarray:
    """Shrink wavelet coefficients by BayesShrink (Chang, Yu and Vetterli, 2000)."""
    return denoise_wavelet(noisy, sigma=sigma / 255, channel_axis=-1, rescale_sigma=True)
