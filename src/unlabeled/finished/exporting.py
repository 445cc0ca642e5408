"""A classifier as one graph: images uint8 of any size in, probabilities or codes out, with all that comes between inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlabeled.errors import UserError
from unlabeled.finished.classifier import Classifier, load_classifier
from unlabeled.images.fitting import PAD, Wanted
from unlabeled.keeping.files import parse_arrays, read_bytes
from unlabeled.kernels import building
from unlabeled.networks.classical import ClassicalNet
from unlabeled.networks.models import ConvNet
from unlabeled.networks.strong import StrongNet

_TOLERANCE = 1e-4
_LUMA = (0.299, 0.587, 0.114)
_ONE = 2.0**22
_TRIED = (2, 37, 50)  # images, height, width of the example that a graph is traced with


class Preprocess(nn.Module):
    """Bring images to a classifier's size and range, as its training did: by Pillow's triangle filter, in two passes of whole numbers.

    Takes uint8 (n, h, w, 3) and returns float (n, channels, height, width) in [-1, 1]. The filter is two products with matrices that
    follow from the sizes, so that one graph serves all of them; in double precision, so that its whole numbers are Pillow's.
    """

    def __init__(self, wanted: Wanted, channels: int) -> None:
        super().__init__()
        self.wanted, self.channels = wanted, channels

    def forward(self, images: Tensor) -> Tensor:
        """Return images as the network sees them."""
        pixels = images.permute(0, 3, 1, 2).double()
        (high, down), (wide, across) = self._filters(pixels)
        # Pillow goes along the rows first, and rounds in between.
        small = _whole(torch.matmul(pixels, across.T))
        small = _whole(torch.matmul(down, small))
        inside = high[:, None] * wide[None, :]
        small = small * inside + PAD * (1 - inside)
        if self.channels == 1:
            small = (small * small.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).round()
        return (small / 127.5 - 1).float()

    def _filters(self, pixels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return, for rows and for columns, which of the wanted ones hold the image (all, unless it is padded), and their weights."""
        rows, columns = (torch.arange(pixels.shape[axis], dtype=torch.float64, device=pixels.device) for axis in (2, 3))
        height, width = rows[-1] + 1, columns[-1] + 1
        high, wide = self.wanted.size
        kept, filled = (height, width), (rows.new_tensor(float(high)), rows.new_tensor(float(wide)))
        if self.wanted.fit == "crop":
            kept = (
                torch.minimum(height, (width * high / wide).round().clamp_min(1)),
                torch.minimum(width, (height * wide / high).round().clamp_min(1)),
            )
        if self.wanted.fit == "pad":
            scale = torch.minimum(high / height, wide / width)
            filled = ((height * scale).round().clamp(1, high), (width * scale).round().clamp(1, wide))
        return (
            _filter(rows, height, kept[0], filled[0], high),
            _filter(columns, width, kept[1], filled[1], wide),
        )


def _filter(places: Tensor, length: Tensor, kept: Tensor, filled: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """Return which of the wanted places hold the image, and the triangle filter's weights (wanted, length)."""
    before = torch.floor((wanted - filled) / 2)
    target = torch.arange(wanted, dtype=torch.float64, device=places.device) - before
    holds = ((target >= 0) & (target < filled)).double()
    scale = kept / filled
    centre = (length - kept) / 2 + (target + 0.5) * scale
    weights = (1 - ((places[None, :] - centre[:, None] + 0.5) * (1 / scale.clamp_min(1))).abs()).clamp_min(0)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    # Whole numbers over a power of two, as Pillow has them: so sums are exact, and halves are halves.
    return holds, torch.floor(weights * _ONE + 0.5) / _ONE


def _whole(pixels: Tensor) -> Tensor:
    # Pillow rounds halves up.
    return torch.floor(pixels + 0.5).clamp(0, 255)


class Whole(nn.Module):
    """A classifier from images uint8 (n, h, w, 3) to calibrated probabilities (n, classes)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        config = classifier.config
        self.preprocess = Preprocess(classifier.wanted, config.input_size[0])
        self.members = nn.ModuleList(classifier.members)
        self.flip, self.temperature = config.flip, config.temperature

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities."""
        seen = self.preprocess(images)
        chances = []
        for member in self.members:
            own = member(seen).softmax(1)
            chances.append((own + member(seen.flip(3)).softmax(1)) / 2 if self.flip else own)
        mean = torch.stack(chances).mean(0)
        return (mean.clamp_min(1e-30).log() / self.temperature).softmax(1)


class WholeEncoder(nn.Module):
    """The first network of a classifier without its head, from images uint8 (n, h, w, 3) to codes (n, d)."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.preprocess = Preprocess(classifier.wanted, classifier.config.input_size[0])
        self.network = classifier.members[0]

    def forward(self, images: Tensor) -> Tensor:
        """Return codes."""
        seen = self.preprocess(images)
        if isinstance(self.network, StrongNet | ClassicalNet):
            return self.network.codes(seen)
        assert isinstance(self.network, ConvNet)
        return self.network.encoder(seen).code.flatten(1)


def export(run: str | Path, *, out: Path | None = None, onnx: bool = True, encoder: bool = False) -> tuple[Path, float]:
    """Write a classifier, or its encoder alone, as one graph, and check it on the images kept with it.

    Parameters
    ----------
    run
        Folder of a run or of a classifier.
    out
        File to write; left out, ``model.onnx`` or ``model.pt2`` (``encoder.…``) in the classifier's folder.
    onnx
        Whether it is ONNX, for any of its runtimes; otherwise a program of ``torch.export``.
    encoder
        Whether codes come out, in place of probabilities.

    Returns
    -------
    path
        The file.
    off
        How far its numbers are from PyTorch's, at the most.

    Raises
    ------
    UserError
        If the extra is not installed, or the graph computes something else.
    """
    classifier = load_classifier(run, device="cpu")
    place = Path(run).expanduser()
    place = place if (place / "model.safetensors").is_file() else place / "classifier"
    out = out or place / f"{'encoder' if encoder else 'model'}.{'onnx' if onnx else 'pt2'}"
    whole = (WholeEncoder if encoder else Whole)(classifier).eval()
    whole.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    golden = parse_arrays(place / "golden.npz", read_bytes(place / "golden.npz"))["images"]
    shown = np.repeat(golden, 3, axis=1) if golden.shape[1] == 1 else golden
    images = np.ascontiguousarray(shown.transpose(0, 2, 3, 1))
    # Kernels of this package are none of a graph's.
    with building.without_kernels(), torch.no_grad():
        expected = whole(torch.from_numpy(images)).numpy()
        computed = (_write_onnx if onnx else _write_torch)(whole, out)(images)
    off = float(np.abs(computed - expected).max())
    if off > _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        out.unlink(missing_ok=True)
        raise UserError(
            f"{out}: the graph's numbers are off by {off:.2g}, so it is not kept; use the classifier in PyTorch"
        )
    return out, off


Runner = Callable[[np.ndarray], np.ndarray]


def _example() -> tuple[tuple[Tensor], tuple[dict[int, Any], ...]]:
    dynamic = torch.export.Dim.DYNAMIC
    return (torch.zeros((*_TRIED, 3), dtype=torch.uint8),), ({0: dynamic, 1: dynamic, 2: dynamic},)


def _write_onnx(whole: nn.Module, out: Path) -> Runner:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError:
        raise UserError(f"{out}: ONNX needs its packages; pip install '.[onnx]' in the folder of unlabeled") from None
    given, dynamic = _example()
    # It says which other packages' operators it leaves out.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the exporter itself will change
        program = torch.onnx.export(
            whole,
            given,
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=["images"],
            output_names=["output"],
            verbose=False,
        )
    assert program is not None
    out.parent.mkdir(parents=True, exist_ok=True)
    program.save(out, external_data=False)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def _write_torch(whole: nn.Module, out: Path) -> Runner:
    given, dynamic = _example()
    program = torch.export.export(whole, given, dynamic_shapes=dynamic)
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, out)
    read = torch.export.load(out).module()
    return lambda images: read(torch.from_numpy(images)).detach().numpy()
