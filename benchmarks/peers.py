"""peers: ae1 and net in skorch, Lightning's Trainer and Keras, each as its documentation shows; default layout and precision.

Needs ``pip install -c constraints.txt '.[bench]'``; a peer that is not installed is left out and named.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.drawing import draw_images
from benchmarks.measuring import Contender, Outcome, Row, compare, take_turns
from benchmarks.rivals import measure_loss
from benchmarks.training import CASES, HELD_OUT, Case, train_ours
from unlabeled.images import Images

MODULES = {"skorch": "skorch", "Lightning": "pytorch_lightning", "Keras, torch": "keras", "Keras, jax": "jax"}


def run_peers(*, images: int, repeats: int) -> list[Row]:
    """Measure ae1 and net. A peer is the rival of the ratio, so the package's own row says how much faster it is than the fastest."""
    rows: list[Row] = []
    for name in ("ae1", "net"):
        case, data, held_out = CASES[name], draw_images(images), draw_images(HELD_OUT, seed=1)
        few = Images(data.pixels[:1_024], data.classes[:1_024])
        contenders: dict[str, Contender] = {}
        warmups: dict[str, Contender] = {}
        for peer, module in MODULES.items():
            if find_spec(module) is not None and find_spec("keras" if peer.startswith("Keras") else module) is not None:
                contenders[peer] = _contender(peer, case, name, data, held_out)
                if not peer.startswith("Keras"):
                    warmups[peer] = _contender(peer, case, name, few, few)
        contenders["unlabeled"] = lambda case=case, data=data, held_out=held_out: train_ours(case, data, held_out)
        warmups["unlabeled"] = lambda case=case, few=few: train_ours(case, few, few)
        outcomes = take_turns(contenders, repeats, warmups=warmups)
        speeds = {
            peer: sorted(one.images / one.seconds for one in found)[len(found) // 2] for peer, found in outcomes.items()
        }
        fastest = max(
            (peer for peer in speeds if peer != "unlabeled"), key=lambda peer: speeds[peer], default="unlabeled"
        )
        found = compare(f"peers, {name}", outcomes, rival=fastest, goal=None)
        found[-1].goal = 1.0
        missing = [peer for peer in MODULES if peer not in outcomes]
        found[-1].note = f"times the fastest peer, {fastest}" + (
            f"; not installed: {', '.join(missing)}" if missing else ""
        )
        # The table's first row of a case is the rival.
        rows += sorted(found, key=lambda row: row.contender != fastest)
    return rows


def _contender(peer: str, case: Case, name: str, data: Images, held_out: Images) -> Contender:
    if peer.startswith("Keras"):
        # A backend is chosen before Keras is imported, once in a process.
        return lambda: _run_keras(name, len(data), peer.removeprefix("Keras, "))
    work: Callable[..., Outcome] = {"skorch": _run_skorch, "Lightning": _run_lightning}[peer]
    return lambda: work(case, data, held_out)


def _tensors(data: Images) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(data.pixels).float().div_(127.5).sub_(1), torch.from_numpy(data.classes)


def _run_skorch(case: Case, data: Images, held_out: Images) -> Outcome:
    from skorch import NeuralNetClassifier, NeuralNetRegressor

    x, y = _tensors(data)
    common: dict[str, Any] = {
        "optimizer": torch.optim.Adam, "lr": 1e-3, "batch_size": 128, "max_epochs": 1, "train_split": None,
        "iterator_train__shuffle": True, "verbose": 0,
    }  # fmt: skip
    model = case.plain()
    start = time.perf_counter()
    if case.classify:
        NeuralNetClassifier(model, criterion=nn.CrossEntropyLoss, **common).fit(x, y)
    else:
        NeuralNetRegressor(model, criterion=nn.MSELoss, **common).fit(x, x)
    return Outcome(len(x), time.perf_counter() - start, measure_loss(model, held_out, classify=case.classify))


def _run_lightning(case: Case, data: Images, held_out: Images) -> Outcome:
    import pytorch_lightning

    for logger in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(logger).setLevel(logging.ERROR)

    class Module(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = case.plain()

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            x, y = batch
            return F.cross_entropy(self.model(x), y) if case.classify else F.mse_loss(self.model(x), x)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    module, (x, y) = Module(), _tensors(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        trainer = pytorch_lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, DataLoader(TensorDataset(x, y), batch_size=128, shuffle=True))
        seconds = time.perf_counter() - start
    return Outcome(len(x), seconds, measure_loss(module.model, held_out, classify=case.classify))


def _run_keras(name: str, images: int, backend: str) -> Outcome:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", name, str(images)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Keras on {backend} failed: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Outcome(images, found["seconds"], found["loss"])


def _train_keras(name: str, images: int) -> dict[str, float]:
    """Train in Keras; it has no unpooling, so its autoencoder goes back by a transposed convolution of stride 2."""
    import keras
    from keras import layers

    def made() -> Any:
        shape = keras.Input((32, 32, 3))
        x = layers.Conv2D(32, 3, padding="same", activation="relu")(shape)
        x = layers.MaxPooling2D(2)(x)
        if name == "net":
            x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
            x = layers.Flatten()(layers.MaxPooling2D(2)(x))
            x = layers.Dense(10)(x)
        else:
            x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh")(x)
        model = keras.Model(shape, x)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if name == "net" else "mse"
        model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
        return model

    def arrays(data: Images) -> tuple[np.ndarray, np.ndarray]:
        x = data.pixels.transpose(0, 2, 3, 1).astype(np.float32) / 127.5 - 1
        return x, data.classes if name == "net" else x

    model, (x, y) = made(), arrays(draw_images(images))
    # Compiling is not counted: a step is taken first, and the weights put back.
    weights = model.get_weights()
    model.fit(x[:256], y[:256], batch_size=128, epochs=1, verbose=0)
    model.set_weights(weights)
    start = time.perf_counter()
    model.fit(x, y, batch_size=128, epochs=1, shuffle=True, verbose=0)
    seconds = time.perf_counter() - start
    held, target = arrays(draw_images(HELD_OUT, seed=1))
    return {"seconds": seconds, "loss": float(model.evaluate(held, target, batch_size=500, verbose=0))}


if __name__ == "__main__":
    print(json.dumps(_train_keras(sys.argv[1], int(sys.argv[2]))))
