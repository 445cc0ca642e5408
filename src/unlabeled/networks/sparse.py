"""The sparse linear autoencoder on patches: sigmoid hidden units that are seldom active, and a linear output.

After A. Ng, "Sparse autoencoder", lecture notes, 2011. Its loss on m patches is

    1/m sum_i 1/2 |x_i - r(x_i)|^2  +  decay/2 sum of squared weights  +  beta sum_j KL(rho || rho_j),

rho_j the mean activation of hidden unit j over those patches, KL(rho || q) = rho log(rho / q) + (1 - rho) log((1 - rho) / (1 - q)).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unlabeled.errors import UserError
from unlabeled.images.patches import Prepared

# A mean of fewer expected activations than this says little: its standard deviation is a third of it, or more.
_LEAST_ACTIVATIONS = 10


class SparseOutput(NamedTuple):
    """Prepared patches (n, d), their reconstructions (n, d), and the activations (n, h) of every hidden layer."""

    prepared: Tensor
    rebuilt: Tensor
    activations: tuple[Tensor, ...]


class SparseAutoencoder(nn.Module):
    """Patches to hidden units and back.

    Parameters
    ----------
    prepared
        How patches are prepared; what is reconstructed is the prepared patch.
    hidden
        Units of the hidden layers, an odd number of them; the middle one is the code. One layer is the rule.

    Raises
    ------
    ValueError
        If there is no middle layer, or a layer has no unit.
    """

    matrix: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, prepared: Prepared, hidden: Sequence[int] = (75,)) -> None:
        super().__init__()
        if len(hidden) % 2 == 0 or min(hidden) < 1:
            raise ValueError(f"hidden={tuple(hidden)}; give an odd number of layers, of at least 1 unit each")
        self.shape = prepared.shape
        for name in ("low", "high"):
            self.register_buffer(name, torch.from_numpy(getattr(prepared, name)).float().view(-1, 1, 1))
        self.register_buffer("matrix", torch.from_numpy(prepared.matrix).float())
        self.register_buffer("offset", torch.from_numpy(prepared.offset).float())
        widths = (len(prepared.offset), *hidden, len(prepared.offset))
        layers = []
        for wide, narrow in pairwise(widths):
            layer = nn.Linear(wide, narrow)
            bound = math.sqrt(6 / (wide + narrow + 1))
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)
            layers.append(layer)
        self.layers = nn.ModuleList(layers)

    @property
    def encoding(self) -> Sequence[nn.Linear]:
        """The layers from the patch to the code."""
        return [layer for layer in self.layers[: len(self.layers) // 2] if isinstance(layer, nn.Linear)]

    @property
    def code_length(self) -> int:
        """Units of the code."""
        return self.encoding[-1].out_features

    def prepare(self, patches: Tensor) -> Tensor:
        """Prepare patches (n, c, side, side) in [-1, 1]; return (n, d)."""
        clipped = torch.minimum(torch.maximum(patches, self.low), self.high)
        return F.linear(clipped.flatten(1), self.matrix, self.offset)

    def forward(self, patches: Tensor) -> SparseOutput:
        """Prepare patches (n, c, side, side) in [-1, 1], and reconstruct what comes of it."""
        return self.rebuild(self.prepare(patches))

    def rebuild(self, prepared: Tensor) -> SparseOutput:
        """Reconstruct prepared patches (n, d)."""
        x, activations = prepared, []
        for layer in self.layers[:-1]:
            x = torch.sigmoid(layer(x))
            activations.append(x)
        return SparseOutput(prepared, self.layers[-1](x), tuple(activations))

    def encode(self, patches: Tensor) -> Tensor:
        """Return codes (n, code length) in (0, 1) of patches (n, c, side, side) in [-1, 1]."""
        x = self.prepare(patches)
        for layer in self.encoding:
            x = torch.sigmoid(layer(x))
        return x


def kl_divergence(rho: float, means: Tensor) -> Tensor:
    """Return the sum over units of KL(rho || mean activation), in nats; means (h,) in (0, 1)."""
    # A unit that never or always answers has a finite, large penalty and a slope that leads back.
    tiny = torch.finfo(means.dtype).eps
    means = means.clamp(tiny, 1 - tiny)
    return (rho * torch.log(rho / means) + (1 - rho) * torch.log((1 - rho) / (1 - means))).sum()


@dataclass(frozen=True)
class SparseReconstruction:
    """Reconstruct prepared patches with units that are active ``rho`` of the time; for a ``SparseAutoencoder``.

    The loss is that of this module's head; the metric is the mean squared error per number of a prepared patch. ``beta`` 0 leaves the
    penalty out.
    """

    rho: float = 0.06
    beta: float = 3.0
    decay: float = 1e-4
    metric: ClassVar[str] = "mse"
    needs_labels: ClassVar[bool] = False

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take patches (n, c, side, side) in [-1, 1] through the model.

        Raises
        ------
        UserError
            If a training batch is too small for mean activations to mean anything.
        """
        if model.training and self.beta:
            check_batch(len(images), self.rho)
        return self.measure(model, model(images))

    def measure(self, model: nn.Module, output: SparseOutput) -> tuple[Tensor, Tensor]:
        """Return loss and mean squared error of what a model makes of patches."""
        layers: Any = model.layers
        square = (output.rebuilt - output.prepared).square()
        loss = 0.5 * square.sum(dim=1).mean()
        loss = loss + 0.5 * self.decay * torch.stack([layer.weight.square().sum() for layer in layers]).sum()
        if self.beta:
            means = [activations.mean(dim=0) for activations in output.activations]
            loss = loss + self.beta * torch.stack([kl_divergence(self.rho, mean) for mean in means]).sum()
        return loss, square.detach().mean()


def check_batch(size: int, rho: float) -> None:
    """Refuse a batch over which a unit's mean activation says too little.

    Raises
    ------
    UserError
        If units of mean activation ``rho`` (or resting as seldom) have fewer than ten expected activations in the batch.
    """
    rare = min(rho, 1 - rho)
    if size * rare < _LEAST_ACTIVATIONS:
        raise UserError(
            f"a batch of {size} patches is too small for a sparsity penalty: a unit with mean activation rho={rho:g} has only "
            f"{size * rare:.3g} expected activations in it, so its mean over the batch is mostly chance; use batches of at least "
            f"{math.ceil(_LEAST_ACTIVATIONS / rare)}, or the full batch"
        )


@dataclass(frozen=True)
class FullBatch:
    """What ``fit_full_batch`` returns: the loss after every iteration, and why it ended."""

    losses: list[float]
    converged: bool
    message: str


def fit_full_batch(
    model: SparseAutoencoder, objective: SparseReconstruction, patches: NDArray[np.floating], *, iterations: int = 400
) -> FullBatch:
    """Lower the loss over all patches at once by L-BFGS-B in double precision; the model is changed in place.

    Parameters
    ----------
    patches
        (n, c, side, side) in [-1, 1].
    iterations
        At the most.

    Raises
    ------
    UserError
        If the patches are too few for mean activations to mean anything.
    """
    if objective.beta:
        check_batch(len(patches), objective.rho)
    double = copy.deepcopy(model).cpu().double()
    with torch.no_grad():
        prepared = double.prepare(torch.as_tensor(patches, dtype=torch.float64))
    parameters = list(double.parameters())
    losses: list[float] = []

    def value_and_slope(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nn.utils.vector_to_parameters(torch.from_numpy(point), parameters)
        loss, _ = objective.measure(double, double.rebuild(prepared))
        slope = torch.autograd.grad(loss, parameters)
        return float(loss.detach()), nn.utils.parameters_to_vector(slope).numpy()

    start = nn.utils.parameters_to_vector(parameters).detach().numpy().copy()
    result = scipy.optimize.minimize(
        value_and_slope, start, jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations + 20},
        callback=lambda intermediate_result: losses.append(float(intermediate_result.fun)),
    )  # fmt: skip
    nn.utils.vector_to_parameters(torch.from_numpy(result.x), parameters)
    model.load_state_dict({name: tensor.float() for name, tensor in double.state_dict().items()})
    return FullBatch(losses, bool(result.success), str(result.message))


def mean_activations(model: SparseAutoencoder, patches: Tensor) -> NDArray[np.float64]:
    """Return each code unit's mean activation over patches (n, c, side, side) in [-1, 1]."""
    total = torch.zeros(model.code_length, dtype=torch.float64)
    with torch.no_grad():
        for part in torch.split(patches, 5000):
            total += model.encode(part).double().sum(dim=0)
    means: NDArray[np.float64] = (total / len(patches)).numpy()
    return means
