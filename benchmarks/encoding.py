"""encode: the features of many images by a trained encoder, against the plain evaluation loop."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.drawing import draw_images
from benchmarks.measuring import Outcome, Row, compare, take_turns
from benchmarks.rivals import PlainAutoEncoder
from benchmarks.training import CASES
from unlabeled import encode
from unlabeled.images import Images
from unlabeled.training.runtime import Runtime


def run_encoding(*, images: int, repeats: int) -> list[Row]:
    """Measure encode with the encoder of ae1: 8,192 numbers an image. "loss" is the largest difference of a feature."""
    data = draw_images(images)
    model = CASES["ae1"].ours()
    plain = CASES["ae1"].plain()
    few = Images(data.pixels[:512])
    expected = _encode_plainly(plain, few)[1]

    def ours(given: Images = data) -> Outcome:
        start = time.perf_counter()
        features = encode(model.encoder, given, runtime=Runtime.of("cpu"))
        seconds = time.perf_counter() - start
        return Outcome(len(given), seconds, float(np.abs(features[:512] - expected).max()))

    def rival(given: Images = data) -> Outcome:
        seconds, features = _encode_plainly(plain, given)
        return Outcome(len(given), seconds, float(np.abs(features[:512] - expected).max()))

    contenders = {"plain PyTorch": rival, "unlabeled": ours}
    warmups = {"plain PyTorch": lambda: rival(few), "unlabeled": lambda: ours(few)}
    outcomes = take_turns(contenders, repeats, warmups=warmups)
    return compare("encode", outcomes, rival="plain PyTorch", goal=3.0)


@torch.no_grad()
def _encode_plainly(model: PlainAutoEncoder, images: Images, batch: int = 256) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    model.eval()
    pixels = torch.from_numpy(images.pixels)
    features = np.empty((len(images), 32 * 16 * 16), dtype=np.float32)
    for first in range(0, len(images), batch):
        x = pixels[first : first + batch].float() / 127.5 - 1
        for convolution in model.down:
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        features[first : first + batch] = x.flatten(1).numpy()
    return time.perf_counter() - start, features
