"""ConvAutoEncoder and ConvNet: the architecture and nothing else.

Both take one specification, have the same encoder, and take images as float (n, c, h, w) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn

from unlabeled.geometry import Block, Geometry, PerLayer, solve
from unlabeled.kernels import pooling
from unlabeled.kernels.blocks import convolve_pool, is_plain, is_unhooked, takes, to_switches, unpool_convolve
from unlabeled.networks.layout import block_table

Pool: TypeAlias = Literal["max", "average"]
Activation: TypeAlias = Literal["sigmoid", "tanh", "relu", "leaky-relu"]
OutputActivation: TypeAlias = Literal["sigmoid", "tanh", "relu", "leaky-relu", "linear"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,  # slope 0.01
}


class Encoding(NamedTuple):
    """What the encoder returns: the code (n, c, h, w), and each block's switches (None where it has none).

    A switch is int64, as PyTorch's pool returns it, or uint8: then it is the winner's place within its window.
    """

    code: Tensor
    switches: tuple[Tensor | None, ...]


class Encoder(nn.Module):
    """Blocks of convolution, activation and pool.

    Every activation offered here is increasing, so it gives the same map after the max-pool as before, at a fraction
    of the work. The switches are those of the usual order too: of the cells that a relu makes equal, the first.
    """

    def __init__(self, geometry: Geometry, *, pool: Pool = "max", activation: Activation = "relu") -> None:
        super().__init__()
        self.geometry = geometry
        self.pool = _one_of("pool", pool, ("max", "average"))
        self.activation = _ACTIVATIONS[_one_of("activation", activation, tuple(_ACTIVATIONS))]()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(b.in_channels, b.out_channels, b.conv_kernel, b.conv_stride, b.conv_padding)
            for b in geometry.blocks
        )

    def forward(self, images: Tensor, *, places: bool = False) -> Encoding:
        """Encode images (n, c, h, w) of the size the model was made for.

        With ``places`` the switches may come as places in their windows, which is faster where nobody looks at them.
        """
        expected = self.geometry.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this model takes (n, {', '.join(map(str, expected))})"
            )
        x = images
        switches: list[Tensor | None] = []
        for number in range(len(self.convolutions)):
            x, switch = self.block(number, x, places=places)
            switches.append(switch)
        return Encoding(x, tuple(switches))

    def block(self, number: int, x: Tensor, *, places: bool = False) -> tuple[Tensor, Tensor | None]:
        """Take a map (n, c, h, w) through one block; return its code, and its switches, or places, if it has some."""
        block, convolution = self.geometry.blocks[number], self.convolutions[number]
        relu = isinstance(self.activation, nn.ReLU)
        # A relu that the kernels do is not called.
        if self.pool != "max" or (relu and not is_plain(self.activation)) or not takes(block, convolution, x):
            return self._pool(block, convolution(x))
        x, place = convolve_pool(x, convolution.weight, convolution.bias, block, relu=relu)  # type: ignore[arg-type]
        return x if relu else self.activation(x), place if places else to_switches(place, block)

    def _pool(self, block: Block, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if not block.pools:
            return self.activation(x), None
        if self.pool == "average":
            x = self.activation(x)
            return pooling.average_pool(x, block.pool_kernel, block.pool_stride, block.pool_padding), None
        x, switches = pooling.max_pool(x, block.pool_kernel, block.pool_stride, block.pool_padding)
        if isinstance(self.activation, nn.ReLU):
            switches = pooling.switches_after_relu(
                x, switches, width=block.conv_size[1], stride=block.pool_stride, padding=block.pool_padding
            )
        return self.activation(x), switches


class Decoder(nn.Module):
    """The encoder's blocks in reverse: unpool with the stored switches, transposed convolution, activation.

    Without switches (``switches=False``, or an average pool) a value is spread over its window.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        pool: Pool,
        activation: Activation,
        output_activation: OutputActivation,
        switches: bool = True,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.uses_switches = switches and pool == "max"
        self.activation = _ACTIVATIONS[activation]()
        known = (*_ACTIVATIONS, "linear")
        name = _one_of("output_activation", output_activation, known)
        self.output_activation = nn.Identity() if name == "linear" else _ACTIVATIONS[name]()
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(
                b.out_channels, b.in_channels, b.conv_kernel, b.conv_stride, b.conv_padding, b.output_padding
            )
            for b in reversed(geometry.blocks)
        )

    def forward(self, code: Tensor, switches: Sequence[Tensor | None], *, own: bool = False) -> Tensor:
        """Decode a code (n, c, h, w); the image has exactly the size that the encoder took.

        With ``own`` code and switches are what this model's encoder just returned; else a wrong one is a ValueError.
        """
        if not own:
            self._check(code, switches)
        x, last = code, len(self.convolutions) - 1
        for number in range(last, -1, -1):
            x = self.block(number, x, switches[number], own=own or number < last)
        return x

    def block(self, number: int, code: Tensor, switches: Tensor | None, *, own: bool = False) -> Tensor:
        """Undo one block of the encoder: return the map (n, c, h, w) that it took, as far as its code tells.

        With ``own`` the code comes out of this model's activation.
        """
        block, convolution = self.geometry.blocks[number], cast("Any", self.convolutions[-1 - number])
        activation = self.activation if number else self.output_activation
        if self.uses_switches and switches is not None and switches.dtype == torch.uint8:
            relu = isinstance(activation, nn.ReLU)
            if not own:
                shape = tuple(code.shape)
                pooling.check_switches(switches, shape, block.pool_kernel, block.conv_size, f"block {number + 1}")
            if (is_plain(activation) or not relu) and takes(block, convolution, code, switches):
                # What comes from a relu has no gradient where it is zero.
                after, weights = own and is_plain(self.activation), (convolution.weight, convolution.bias)
                x = unpool_convolve(code, switches, *weights, block, after_relu=after, relu=relu)
                return x if relu else activation(x)
            switches = to_switches(switches, block)
        opened: Tensor = activation(convolution(self._unpool(block, code, switches)))
        return opened

    def _check(self, code: Tensor, switches: Sequence[Tensor | None]) -> None:
        """Refuse what is not of this model: a wrong switch would be written outside of its map."""
        expected = self.geometry.code_size
        if code.ndim != 4 or tuple(code.shape[1:]) != expected:
            raise ValueError(
                f"the code has shape {tuple(code.shape)}; this model takes (n, {', '.join(map(str, expected))})"
            )
        if len(switches) != len(self.geometry.blocks):
            raise ValueError(
                f"{len(switches)} switches for {len(self.geometry.blocks)} blocks; give those that encode returned"
            )
        for number, (block, switch) in enumerate(zip(self.geometry.blocks, switches, strict=True)):
            if switch is not None and block.pools and self.uses_switches:
                shape = len(code), block.out_channels, *block.pool_size
                pooling.check_switches(switch, shape, block.pool_kernel, block.conv_size, f"block {number + 1}")

    def _unpool(self, block: Block, x: Tensor, switches: Tensor | None) -> Tensor:
        if not block.pools:
            return x
        kernel, stride = block.pool_kernel, block.pool_stride
        if not self.uses_switches:
            return pooling.average_unpool(x, block.conv_size, kernel=kernel, stride=stride, padding=block.pool_padding)
        if switches is None:
            raise ValueError("max unpooling needs the switches that encode returned; call decode(encode(images))")
        return pooling.max_unpool(x, switches, block.conv_size, kernel=kernel, stride=stride)


class ConvAutoEncoder(nn.Module):
    """A convolutional autoencoder of any depth; the output has the input's size for every legal specification.

    Parameters
    ----------
    input_size
        (channels, height, width) of an image.
    layers_num
        Number of blocks; left out, the sequences below tell.
    conv_out_channels, conv_kernel_size, conv_stride, conv_padding, pool_kernel_size, pool_stride, pool_padding
        One entry a layer, or one number for all layers; an entry is a number or a (height, width) pair.
    pool
        "max", undone with the stored switches, or "average", undone by spreading the mean.
    activation
        "sigmoid", "tanh", "relu" or "leaky-relu" (slope 0.01), after every block but the last of the decoder.
    output_activation
        After the decoder's last block; "tanh" fits pixels in [-1, 1], "linear" leaves it out.
    switches
        Whether a max-pool's switches go round the code to the decoder; without them it is undone as an average pool is.

    Raises
    ------
    GeometryError
        If a kernel does not fit the map it meets; the message says where and what would fit.
    """

    def __init__(
        self,
        input_size: Sequence[int] = (3, 32, 32),
        layers_num: int | None = None,
        conv_out_channels: PerLayer = (6, 6),
        conv_kernel_size: PerLayer = (2, 3),
        conv_stride: PerLayer = (2, 2),
        pool_kernel_size: PerLayer = (2, 1),
        pool_stride: PerLayer = (1, 1),
        *,
        conv_padding: PerLayer = 0,
        pool_padding: PerLayer = 0,
        pool: Pool = "max",
        activation: Activation = "relu",
        output_activation: OutputActivation = "tanh",
        switches: bool = True,
    ) -> None:
        super().__init__()
        geometry = solve(
            input_size,
            layers_num,
            conv_out_channels=conv_out_channels,
            conv_kernel_size=conv_kernel_size,
            conv_stride=conv_stride,
            conv_padding=conv_padding,
            pool_kernel_size=pool_kernel_size,
            pool_stride=pool_stride,
            pool_padding=pool_padding,
        )
        self.pool: Pool = pool
        self.activation_name: Activation = activation
        self.encoder = Encoder(geometry, pool=pool, activation=activation)
        self.decoder = Decoder(
            geometry, pool=pool, activation=activation, output_activation=output_activation, switches=switches
        )

    @property
    def geometry(self) -> Geometry:
        """The sizes of every block."""
        return self.encoder.geometry

    def encode(self, images: Tensor) -> Encoding:
        """Return the code (n, c, h, w) of images (n, c, h, w) in [-1, 1], and the switches."""
        encoding: Encoding = self.encoder(images)
        return encoding

    def decode(self, encoding: Encoding | Tensor, switches: Sequence[Tensor | None] | None = None) -> Tensor:
        """Return images from what ``encode`` returned, or from a code and switches given apart.

        Raises
        ------
        ValueError
            If a shape or a switch is not of this model.
        """
        if isinstance(encoding, Encoding):
            encoding, switches = encoding
        if switches is None:
            switches = (None,) * len(self.geometry.blocks)
        images: Tensor = self.decoder(encoding, switches)
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images (n, c, h, w)."""
        encoding = self.encoder(images, places=True)
        # What somebody put in the encoder's place, or hung on it, may return anything.
        encoder, decoder = self.encoder, self.decoder
        own = type(encoder) is Encoder and encoder.geometry == decoder.geometry
        own = own and type(encoder.activation) is type(decoder.activation)
        own = own and all(map(is_unhooked, (encoder, encoder.activation, decoder)))
        rebuilt: Tensor = decoder(*encoding, own=own)
        return rebuilt

    def __repr__(self) -> str:
        return block_table(self, f"code of {self.geometry.code_length:,} numbers for {self.geometry.input_length:,}")


class ConvNet(nn.Module):
    """A convolutional classifier: the encoder of ``ConvAutoEncoder``, then linear layers. Returns logits (n, classes).

    Parameters
    ----------
    input_size, layers_num, conv_out_channels, ..., activation
        As in ``ConvAutoEncoder``.
    classes
        How many classes.
    hidden
        Widths of hidden linear layers, each followed by the activation.
    dropout
        Probability that a number is dropped before each linear layer, in [0, 1).
    """

    def __init__(
        self,
        input_size: Sequence[int] = (3, 32, 32),
        layers_num: int | None = None,
        conv_out_channels: PerLayer = (6, 6),
        conv_kernel_size: PerLayer = (2, 3),
        conv_stride: PerLayer = (2, 2),
        pool_kernel_size: PerLayer = (2, 1),
        pool_stride: PerLayer = (1, 1),
        *,
        conv_padding: PerLayer = 0,
        pool_padding: PerLayer = 0,
        pool: Pool = "max",
        activation: Activation = "relu",
        classes: int = 10,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        geometry = solve(
            input_size,
            layers_num,
            conv_out_channels=conv_out_channels,
            conv_kernel_size=conv_kernel_size,
            conv_stride=conv_stride,
            conv_padding=conv_padding,
            pool_kernel_size=pool_kernel_size,
            pool_stride=pool_stride,
            pool_padding=pool_padding,
        )
        self._assemble(geometry, pool=pool, activation=activation, classes=classes, hidden=hidden, dropout=dropout)

    @classmethod
    def from_encoder(
        cls, autoencoder: ConvAutoEncoder, *, classes: int = 10, hidden: Sequence[int] = (), dropout: float = 0.0
    ) -> ConvNet:
        """Make a classifier on a copy of the autoencoder's encoder; every weight must have its counterpart."""
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network._assemble(
            autoencoder.geometry,
            pool=autoencoder.pool,
            activation=autoencoder.activation_name,
            classes=classes,
            hidden=hidden,
            dropout=dropout,
        )
        network.encoder.load_state_dict(autoencoder.encoder.state_dict(), strict=True)
        weight = next(autoencoder.parameters())
        return network.to(device=weight.device, dtype=weight.dtype)

    def _assemble(
        self,
        geometry: Geometry,
        *,
        pool: Pool,
        activation: Activation,
        classes: int,
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        if classes < 2:
            raise ValueError(f"classes={classes}; a classifier needs at least 2")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}; give a probability of at least 0 and below 1")
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden={tuple(hidden)}; a hidden layer needs at least 1 unit")
        self.encoder = Encoder(geometry, pool=pool, activation=activation)
        widths = (geometry.code_length, *hidden, classes)
        layers: list[nn.Module] = [nn.Flatten()]
        for number, (wide, narrow) in enumerate(pairwise(widths)):
            layers += [nn.Dropout(dropout)] if dropout else []
            layers += [nn.Linear(wide, narrow)]
            layers += [_ACTIVATIONS[activation]()] if number < len(hidden) else []
        self.head = nn.Sequential(*layers)

    @property
    def geometry(self) -> Geometry:
        """The sizes of every block."""
        return self.encoder.geometry

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, c, h, w) in [-1, 1]."""
        logits: Tensor = self.head(self.encoder(images, places=True).code)
        return logits

    def __repr__(self) -> str:
        linear = [str(layer.out_features) for layer in self.head.modules() if isinstance(layer, nn.Linear)]
        return block_table(self, f"code of {self.geometry.code_length:,} numbers -> linear {' -> '.join(linear)}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(known)}")
    return value
