"""Residual networks by the names of torchvision and timm, so that weights from elsewhere can be read. The architecture and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean and standard deviation of ImageNet's pixels in [0, 1], a channel each: what such weights were trained on.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STAGES = 4


class ResNet(nn.Module):
    """The residual network whose weights are given (He et al., "Deep Residual Learning for Image Recognition", 2016), with a new head.

    Depth, widths and kind of block follow from names and shapes; strides are those of torchvision: a bottleneck's 3x3 convolution has
    it. It takes float images (n, c, h, w) in [-1, 1], enlarges them to ``side`` pixels at the least, repeats a single channel three
    times, and returns logits (n, classes).

    Parameters
    ----------
    tensors
        A state dict; a head ``fc`` in it is left out.
    classes
        How many classes.
    side
        Least side that images are enlarged to, pixels: such weights expect details larger than small images have them.

    Raises
    ------
    ValueError
        If the names or shapes are of another network; the message says which.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], *, classes: int, side: int = 64) -> None:
        super().__init__()
        if "conv1.weight" not in tensors or "layer1.0.conv1.weight" not in tensors:
            raise ValueError("there is no conv1.weight or layer1.0.conv1.weight, so it is no ResNet")
        self.side = side
        stem = tensors["conv1.weight"].shape
        if stem.numel() != stem[0] * 3 * stem[2] ** 2:
            raise ValueError(f"conv1.weight is {tuple(stem)}; a ResNet for colour images has (width, 3, side, side)")
        self.conv1 = nn.Conv2d(3, stem[0], stem[2], stride=2 if stem[2] > 3 else 1, padding=stem[2] // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem[0])
        self.narrows = stem[2] > 3
        ins = int(stem[0])
        for stage in range(1, _STAGES + 1):
            blocks: list[_Block] = []
            while f"layer{stage}.{len(blocks)}.conv1.weight" in tensors:
                block = _Block(tensors, f"layer{stage}.{len(blocks)}.", ins, 2 if stage > 1 and not blocks else 1)
                blocks.append(block)
                ins = block.outs
            if not blocks:
                break
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.stages = stage if blocks else stage - 1
        self.code_length = ins
        self.fc = nn.Linear(ins, classes)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)
        self._take(tensors)

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        own = self.state_dict()
        given = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
        wanted = {name for name in own if not name.startswith("fc.")}
        if differing := sorted(name for name in wanted & given.keys() if own[name].shape != given[name].shape):
            raise ValueError(
                f"{differing[0]} is {tuple(given[differing[0]].shape)} where {tuple(own[differing[0]].shape)} fits"
            )
        missing = sorted(name for name in wanted - given.keys() if not name.endswith("num_batches_tracked"))
        if missing or given.keys() - wanted:
            names = ", ".join((missing or sorted(given.keys() - wanted))[:3])
            raise ValueError(f"{'it lacks' if missing else 'a plain ResNet has no'} {names}")
        self.load_state_dict({**own, **given})

    def codes(self, images: Tensor) -> Tensor:
        """Return the means of the last map's channels, (n, d)."""
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        least = min(x.shape[2:])
        if least < self.side:
            x = F.interpolate(x, scale_factor=self.side / least, mode="bilinear", align_corners=False)
        x = F.relu(self.bn1(self.conv1(((x + 1) / 2 - self.mean) / self.deviation)))
        if self.narrows:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) of float images (n, c, h, w) in [-1, 1]."""
        logits: Tensor = self.fc(self.codes(images))
        return logits


class _Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1, added to what came in."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, ins: int, stride: int) -> None:
        super().__init__()
        self.depth = 3 if f"{prefix}conv3.weight" in tensors else 2
        outs = ins
        for number in range(1, self.depth + 1):
            name = f"{prefix}conv{number}.weight"
            if name not in tensors:
                raise ValueError(f"it lacks {name}")
            wide, narrow, side = _shape(tensors[name].shape, name)
            # The convolution that strides is the 3x3 one: the first of two, the second of three.
            strides = number == self.depth - 1
            groups = outs // narrow if narrow and outs % narrow == 0 else 1
            conv = nn.Conv2d(outs, wide, side, stride if strides else 1, side // 2, groups=groups, bias=False)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", nn.BatchNorm2d(wide))
            outs = wide
        self.outs = outs
        self.downsample: nn.Module | None = None
        if f"{prefix}downsample.0.weight" in tensors:
            self.downsample = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.depth + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = F.relu(y) if number < self.depth else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shape(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"{name} is {tuple(shape)}, not of a convolution with a square kernel")
    return int(shape[0]), int(shape[1]), int(shape[2])
