"""The autoencoders that methods stand on: that of ``--autoencoder``, a denoising one without switches beside it, and their twins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from unlabeled.experiments.specs import Learned

if TYPE_CHECKING:
    from unlabeled.experiments.lab import Lab


def of_unlabeled(lab: Lab, _fold: int, seed: int) -> Learned:
    """Return the autoencoder of the unlabeled images."""
    return Learned(lab.config.encoder, lab.config.autoencoder, seed)


def of_labeled(lab: Lab, fold: int, seed: int) -> Learned:
    """Return its twin, which learns from the labeled images alone."""
    return lab.twin(of_unlabeled(lab, fold, seed), fold)


def denoising(lab: Lab, fold: int, seed: int) -> Learned:
    """Return the same autoencoder, which is shown noisy images and gives back the clean ones, without switches round its code."""
    config = lab.config.autoencoder
    noise = "gaussian" if config.noise == "none" else config.noise
    changed = config.model_copy(update={"switches": False, "noise": noise})
    return replace(of_unlabeled(lab, fold, seed), config=changed)


def denoising_of_labeled(lab: Lab, fold: int, seed: int) -> Learned:
    """Return the twin of that."""
    return lab.twin(denoising(lab, fold, seed), fold)
