"""Fields of gradient directions: what of an image stays the same in a near-copy. Knows nothing of torch.

At every corner between four pixels stands the gradient of the blurred image, all channels together, divided by its length. So a frame, a
horizon or a dark thing before a bright sky, which rule any correlation of pixels, count no more than the grass. Gradients near the
noise of JPEG stay near zero.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

_SIDE = 32  # images of a longer side are looked at in about this size
_FINE = 24  # from this side on an image is blurred a little
_AROUND = 4  # what a field has in common with so many places around each is taken away
_COARSE = 8  # places of a coarse field in a row
_NOISE = np.float32(3.0)  # squared gradient of one channel, in grey levels, that is not told from noise
_FLAT = 0.15  # squared length of a field, per place, below which it says little; 0.6 is usual


def shrunken(pixels: NDArray[np.uint8]) -> Floats:
    """Average whole blocks of pixels, so that the longer side is about 32; uint8 (n, c, h, w) to float32."""
    return _averaged(pixels.astype(np.float32), max(1, int(max(pixels.shape[2:]) / _SIDE + 0.5)))


def fine_fields(pixels: NDArray[np.uint8]) -> Floats:
    """Return the fields that verify, float32 (n, 2c, h - 1, w - 1), less what is the same all around: soft light has nothing to tell."""
    fields = _fields(shrunken(pixels))
    return fields - _around(_around(fields, 2, _AROUND), 3, _AROUND)


def coarse_fields(pixels: NDArray[np.uint8]) -> Floats:
    """Return the fields that are searched, about 8 by 8: averages of the fine ones, so that a small shift does not matter."""
    fields = _fields(shrunken(pixels))
    fields -= fields.mean(axis=(2, 3), keepdims=True)
    wider = np.pad(fields, ((0, 0), (0, 0), (1, 1), (1, 1)))
    wider = wider[:, :, 1:] + wider[:, :, :-1]
    wider = (wider[..., 1:] + wider[..., :-1]) * np.float32(0.25)
    return _averaged(_around(_around(wider, 2, 1), 3, 1), max(1, min(wider.shape[2:]) // _COARSE))


def mirrored(fields: Floats) -> Floats:
    """Return the fields of the images' mirror images, left and right exchanged."""
    turned = fields[..., ::-1].copy()
    turned[:, : fields.shape[1] // 2] *= -1
    return turned


def halves(fields: Floats) -> tuple[Floats, Floats]:
    """Split fields into the part that stays in the mirror, and the part that changes its sign; each (n, d).

    With a the product of two images' first parts and b that of the second, a + b compares the images and a - b one with the
    other's mirror image; the products of whole fields say the same.
    """
    turned, half = mirrored(fields), (fields.shape[3] + 1) // 2
    parts = []
    for part in (fields + turned, fields - turned):
        kept = part[..., :half] * np.float32(np.sqrt(0.5))
        if fields.shape[3] % 2:
            kept[..., -1] *= np.float32(np.sqrt(0.5))
        parts.append(kept.reshape(len(fields), -1))
    return parts[0], parts[1]


def agreement(first: Floats, second: Floats) -> Floats:
    """Compare fields pair by pair, at the best of small shifts: 1 is the same image, 0 has nothing in common.

    Parameters
    ----------
    first, second
        Fields (n, 2c, h, w).

    Returns
    -------
    NDArray
        float32 (n,): the cosine where the two overlap, at the best shift of up to a tenth of the side; fields of almost no length
        (fog, night) agree with nothing.
    """
    height, width = first.shape[2:]
    reach = max(1, round(min(height, width) / 10))
    size = (scipy.fft.next_fast_len(height + reach, real=True), scipy.fft.next_fast_len(width + reach, real=True))
    spectra = [scipy.fft.rfft2(fields, size) for fields in (first, second)]
    products = scipy.fft.irfft2((spectra[0] * spectra[1].conj()).sum(axis=1), size)
    lengths = [_summed((fields**2).sum(axis=1)) for fields in (first, second)]
    best = np.full(len(first), -1.0, dtype=np.float32)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            here = _overlap(lengths[0], down, right)
            there = _overlap(lengths[1], -down, -right)
            places = (height - abs(down)) * (width - abs(right))
            found = products[:, down, right] / np.maximum(np.sqrt(here * there), _FLAT * places)
            np.maximum(best, found.astype(np.float32), out=best)
    return best


def _overlap(summed: NDArray[np.float64], down: int, right: int) -> NDArray[np.float64]:
    """Sum the places that still overlap after a shift."""
    top, bottom = max(down, 0), summed.shape[1] - 1 + min(down, 0)
    left, end = max(right, 0), summed.shape[2] - 1 + min(right, 0)
    total = summed[:, bottom, end] - summed[:, top, end] - summed[:, bottom, left] + summed[:, top, left]
    return np.maximum(total, 0.0)


def _summed(values: Floats) -> NDArray[np.float64]:
    """Return the sums of all rectangles from the corner, (n, h + 1, w + 1)."""
    return np.pad(values.astype(np.float64), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)


def _averaged(images: Floats, block: int) -> Floats:
    """Average blocks of pixels; what is left over around them is cut off."""
    if block == 1:
        return images
    count, channels, height, width = images.shape
    high, wide = height // block, width // block
    top, left = (height - high * block) // 2, (width - wide * block) // 2
    whole = images[:, :, top : top + high * block, left : left + wide * block]
    blocks = whole.reshape(count, channels, high, block, wide, block)
    return blocks.mean(axis=(3, 5), dtype=np.float32)


def _fields(images: Floats) -> Floats:
    seen = _around(_around(images, 2, 1), 3, 1) if min(images.shape[2:]) >= _FINE else images
    across, along = np.diff(seen, axis=3), np.diff(seen, axis=2)
    gradients: Floats = np.concatenate([across[:, :, 1:] + across[:, :, :-1], along[..., 1:] + along[..., :-1]], axis=1)
    gradients *= np.float32(0.5)
    squares = (gradients**2).sum(axis=1, keepdims=True)
    gradients /= np.sqrt(squares + _NOISE * np.float32(images.shape[1]))
    return gradients


def _around(images: Floats, axis: int, reach: int) -> Floats:
    """Average each place with those up to ``reach`` before and behind it; the outer ones stand for what lies beyond."""
    width = [(0, 0)] * 4
    width[axis] = (reach, reach)
    wider, count = np.moveaxis(np.pad(images, width, mode="edge"), axis, -1), images.shape[axis]
    total = wider[..., :count].copy()
    for step in range(1, 2 * reach + 1):
        total += wider[..., step : step + count]
    total /= np.float32(2 * reach + 1)
    return np.moveaxis(total, -1, axis)
