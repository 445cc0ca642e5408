"""What one would write without the package: plain PyTorch, in its default layout and precision."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring import Outcome
from unlabeled.images import Images
from unlabeled.images.batches import sizes


class PlainAutoEncoder(nn.Module):
    """Blocks of 3x3 convolution, relu, max-pool with indices; and back by unpooling and transposed convolutions."""

    def __init__(self, filters: tuple[int, ...]) -> None:
        super().__init__()
        widths = (3, *filters)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, filters, strict=False))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 3, padding=1) for a, b in reversed(list(zip(widths, filters, strict=False)))
        )
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images (n, 3, h, w)."""
        places = []
        for convolution in self.down:
            x, indices = self.pool(F.relu(convolution(x)))
            places.append(indices)
        for number, convolution in enumerate(self.up):
            x = convolution(self.unpool(x, places.pop()))
            x = torch.tanh(x) if number == len(self.up) - 1 else F.relu(x)
        return x


class PlainNetwork(nn.Sequential):
    """Two blocks of convolution, relu and max-pool, then a linear layer."""

    def __init__(self, side: int = 32) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 10),
        )  # fmt: skip


def copy_weights(source: nn.Module, target: nn.Module) -> nn.Module:
    """Give a model the weights of another one that names them otherwise, in their order."""
    with torch.no_grad():
        for own, other in zip(target.parameters(), source.parameters(), strict=True):
            own.copy_(other)
    return target


def train_plainly(
    model: nn.Module, images: Images, *, classify: bool, batch: int = 128, rate: float = 1e-3, epochs: int = 1
) -> Outcome:
    """Train in the orders and batches that ``unlabeled.fit`` draws from seed 0: the same mathematics; the loss is the last epoch's mean."""
    start = time.perf_counter()
    pixels = torch.from_numpy(images.pixels if images.pixels.flags.writeable else np.array(images.pixels))
    labels = torch.from_numpy(images.labels) if classify else None
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    total = 0.0
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng(np.random.SeedSequence([0, epoch])).permutation(len(images)))
        total = 0.0
        for rows in order.split(list(sizes(len(images), batch))):
            x = pixels[rows].float() / 127.5 - 1
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), x) if labels is None else F.cross_entropy(model(x), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
    return Outcome(len(images) * epochs, time.perf_counter() - start, total / len(images))


@torch.no_grad()
def measure_loss(model: nn.Module, images: Images, *, classify: bool) -> float:
    """Return the mean loss over held-out images, with plain code for every contender alike."""
    model.eval()
    total = 0.0
    for rows in torch.arange(len(images)).split(500):
        x = torch.from_numpy(images.pixels)[rows].float() / 127.5 - 1
        y = torch.from_numpy(images.labels)[rows]
        total += float(F.cross_entropy(model(x), y) if classify else F.mse_loss(model(x), x)) * len(rows)
    return total / len(images)
