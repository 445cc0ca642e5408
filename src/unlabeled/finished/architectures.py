"""The shapes of models that a classifier's folder can hold: said in ``config.json``, made without numbers, which are loaded then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import nn

from unlabeled.config import EncoderConfig
from unlabeled.networks.classical import ClassicalNet, Codes, Components, LinearHead, Pixels, TreesHead, TreesShape
from unlabeled.networks.models import ConvAutoEncoder, ConvNet
from unlabeled.networks.strong import StrongNet


@dataclass(frozen=True)
class StrongArchitecture:
    """The strong network's shape."""

    widths: tuple[int, ...]
    layers: tuple[int, ...]
    kind: Literal["strong"] = "strong"

    def make(self, input_size: Sequence[int], classes: int) -> nn.Module:
        """Make the network."""
        return StrongNet(input_size, classes=classes, widths=self.widths, layers=self.layers)


@dataclass(frozen=True)
class ConvNetArchitecture:
    """The small network's shape: its encoder's options, the widths of hidden layers, and what it dropped in training."""

    encoder: dict[str, Any]
    hidden: tuple[int, ...]
    dropout: float
    kind: Literal["convnet"] = "convnet"

    def make(self, input_size: Sequence[int], classes: int) -> nn.Module:
        """Make the network."""
        encoder = EncoderConfig.model_validate(self.encoder).model_dump()
        return ConvNet(tuple(input_size), classes=classes, hidden=self.hidden, dropout=self.dropout, **encoder)


@dataclass(frozen=True)
class ClassicalArchitecture:
    """A classical model's shape: what of an image it sees (``length`` numbers), and logistic regression or trees on that."""

    features: Literal["pixels", "components", "codes"]
    length: int
    encoder: dict[str, Any] | None = None
    trees: TreesShape | None = None
    kind: Literal["classical"] = "classical"

    @classmethod
    def of(cls, net: ClassicalNet, encoder: EncoderConfig) -> ClassicalArchitecture:
        """Say the shape of a model; if codes are what it sees, they are of an encoder of that shape."""
        head, seen = net.head, net.features
        assert isinstance(head, LinearHead | TreesHead)
        trees = head.shape if isinstance(head, TreesHead) else None
        if isinstance(seen, Codes):
            return cls("codes", head.length, encoder.model_dump(mode="json"), trees)
        return cls("components" if isinstance(seen, Components) else "pixels", head.length, None, trees)

    def make(self, input_size: Sequence[int], classes: int) -> nn.Module:
        """Make the model."""
        seen: nn.Module = Pixels()
        if self.features == "components":
            seen = Components(int(np.prod(input_size)), self.length)
        elif self.features == "codes":
            encoder = EncoderConfig.model_validate(self.encoder).model_dump()
            seen = Codes(ConvAutoEncoder(tuple(input_size), **encoder).encoder)
        head = LinearHead(self.length, classes) if self.trees is None else TreesHead(self.trees, self.length, classes)
        return ClassicalNet(seen, head)


Architecture: TypeAlias = StrongArchitecture | ConvNetArchitecture | ClassicalArchitecture
