"""Values of a configuration that do not go with each other."""

from __future__ import annotations

from unlabeled.config import Config
from unlabeled.console.plain import printable
from unlabeled.errors import UserError
from unlabeled.keeping.caching import expand


def check(config: Config) -> None:
    """Refuse values that do not go with each other; here, where preset, file and options are one."""
    network, search = config.studies.network, config.studies.autoencoder
    trainings = {
        "autoencoder": config.autoencoder.training,
        "network": config.network.training,
        "studies.network": network.training,
        "studies.autoencoder": search.training,
        "studies.sparse": config.studies.sparse.training,
    }
    for name, training in trainings.items():
        if training.nesterov and (training.optimizer != "sgd" or training.momentum == 0 or training.dampening != 0):
            raise UserError(f"--{name}.training.nesterov needs optimizer sgd, a momentum above 0 and dampening 0")
        if training.momentum_start is not None and training.optimizer != "sgd":
            raise UserError(f"--{name}.training.momentum-start needs optimizer sgd")
    rates = (network.sgd_rates, network.adam_rates, network.adagrad_rates, network.rmsprop_rates)
    if len({len(several) for several in rates}) > 1:
        counts = ", ".join(str(len(several)) for several in rates)
        raise UserError(
            "--studies.network.sgd-rates, adam-rates, adagrad-rates and rmsprop-rates need equally many rates, the same "
            f"budget for all; they have {counts}"
        )
    if len(network.encoder.conv_out_channels) != 1:
        raise UserError("--studies.network.encoder is the smallest network's: give it one block")
    if not search.losses:
        raise UserError("--studies.autoencoder.losses needs at least one loss")
    _check_patches(config)
    _check_lists(config)
    _check_out(config)


def _check_out(config: Config) -> None:
    """Refuse results among the images that they are made of."""
    if config.source != "folder" or config.out is None:
        return
    try:
        images, out = expand(config.data.partition(":")[2]).resolve(), expand(config.out).resolve()
    except (OSError, RuntimeError):
        return  # a circle of links, or nobody's home; whoever reads it says so
    if out == images or any(images / part in (out, *out.parents) for part in ("train", "test", "unlabeled")):
        raise UserError(
            f"--out {printable(str(config.out))} lies among the images of --data {printable(config.data)}; give a folder elsewhere"
        )


def _check_patches(config: Config) -> None:
    sparse, convolved = config.studies.sparse, config.studies.convolved
    if any(not 0 < rho < 1 for rho in sparse.rhos):
        raise UserError("--studies.sparse.rhos takes mean activations between 0 and 1, both left out")
    if len(convolved.deep) % 2 == 0 and convolved.deep:
        raise UserError("--studies.convolved.deep needs an odd number of layers, the middle one is the code")
    if config.studies.stacked.kernel % 2 == 0:
        raise UserError("--studies.stacked.kernel needs an odd number, so that maps keep their size")


def _check_lists(config: Config) -> None:
    """Refuse lists that have nothing to try, or numbers below their least."""
    network, search, tuning = config.studies.network, config.studies.autoencoder, config.studies.finetune
    # Name, the list, whether it may be empty, and the least number, or None for anything above 0.
    lists: list[tuple[str, tuple[float, ...], bool, int | None]] = [
        ("network.sgd-rates", network.sgd_rates, False, None),
        ("network.adam-rates", network.adam_rates, False, None),
        ("network.adagrad-rates", network.adagrad_rates, False, None),
        ("network.rmsprop-rates", network.rmsprop_rates, False, None),
        ("network.blocks", network.blocks, False, 1),
        ("network.kernels", network.kernels, True, 1),
        ("network.filters", network.filters, True, 1),
        ("network.batch-sizes", network.batch_sizes, True, 1),
        ("network.weight-decays", network.weight_decays, True, None),
        ("autoencoder.kernels", search.kernels, False, 1),
        ("autoencoder.paddings", search.paddings, False, 0),
        ("autoencoder.strides", search.strides, False, 1),
        ("autoencoder.pools", search.pools, False, 1),
        ("autoencoder.filters", search.filters, False, 1),
        ("finetune.labels", tuning.labels, True, 2),
        ("finetune.unlabeled", tuning.unlabeled, True, 2),
        ("stacked.filters", config.studies.stacked.filters, False, 1),
        ("sparse.rhos", config.studies.sparse.rhos, True, None),
        ("sparse.betas", config.studies.sparse.betas, True, None),
        ("sparse.decays", config.studies.sparse.decays, True, None),
        ("convolved.strides", config.studies.convolved.strides, False, 1),
        ("convolved.unpooled", config.studies.convolved.unpooled, True, 1),
        ("convolved.deep", config.studies.convolved.deep, True, 1),
        ("joint.reconstruction", config.studies.joint.reconstruction, False, 0),
        ("joint.between", config.studies.joint.between, False, 0),
    ]
    for name, values, may_be_empty, least in lists:
        if not values and not may_be_empty:
            raise UserError(f"--studies.{name} needs at least one number")
        if any(value <= 0 if least is None else value < least for value in values):
            wanted = "above 0" if least is None else f"of at least {least}"
            raise UserError(f"--studies.{name} takes numbers {wanted}; it has {min(values):g}")
