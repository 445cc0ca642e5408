"""Multinomial logistic regression the other way: as a network of one linear layer, trained on all images at once."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlabeled.evaluation.classifiers import Chosen, Labeled, LinearClassifier, Scale, Scaling


def fit_linear_network(
    train: Labeled, *, classes: int, scaling: Scaling, strength: float, max_iter: int = 2000, tolerance: float = 1e-5
) -> Chosen:
    """Train one linear layer on features to the least of cross-entropy and L2 penalty, by L-BFGS in double precision.

    The objective is scikit-learn's divided by ``strength`` and the number of images n:
    mean cross-entropy + |W|^2 / (2 * strength * n), offsets without a penalty. It is convex, so both ways end alike. Of two classes
    scikit-learn penalises the difference of their weights; with both halves here that is twice the penalty.

    Parameters
    ----------
    train
        Features (n, d) and classes.
    classes
        How many classes there are; those without an image get probability 0, as in scikit-learn.
    scaling
        One scale for all features, or each its own.
    strength
        Inverse L2 strength C.
    max_iter
        Iterations at the most; ``converged`` tells whether they were enough.
    tolerance
        Largest entry of the gradient at which the training ends.
    """
    scale = Scale.of(train.features, scaling)
    seen, targets = np.unique(train.labels, return_inverse=True)
    features = torch.from_numpy(scale.apply(train.features)).double()
    labels = torch.from_numpy(targets.astype(np.int64))
    layer = nn.Linear(features.shape[1], len(seen), dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=max_iter, max_eval=2 * max_iter, history_size=20, tolerance_grad=tolerance,
        tolerance_change=0.0, line_search_fn="strong_wolfe",
    )  # fmt: skip

    halves = 2 if len(seen) == 2 else 1

    def objective() -> Tensor:
        optimizer.zero_grad()
        penalty = halves * layer.weight.square().sum() / (2 * strength * len(labels))
        loss = F.cross_entropy(layer(features), labels) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    gradients = [weight.grad for weight in layer.parameters() if weight.grad is not None]
    steepest = max(float(gradient.abs().max()) for gradient in gradients)
    classifier = LinearClassifier(scale, layer.weight.detach().numpy(), layer.bias.detach().numpy(), seen, classes)
    iterations = optimizer.state[layer.weight]["n_iter"]
    choice = {"C": strength, "scaling": scaling, "iterations": iterations}
    return Chosen(classifier, choice, [], converged=steepest <= tolerance, facts={"gradient": steepest})
