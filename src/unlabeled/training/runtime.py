"""Device, precision, processes and random numbers; Fabric stands behind this door, where there is work for it."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlabeled.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" takes cuda, then mps, then cpu.

    Raises
    ------
    UserError
        If the device is unknown or not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r} is not known; use auto, cpu, cuda, cuda:1 or mps") from None
    number = device.index or 0
    if not available.get(device.type, False) or (device.type == "cuda" and number >= torch.cuda.device_count()):
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        raise UserError(f"device {name!r} is not on this machine; it has {there}")
    return device


@dataclass(frozen=True)
class Runtime:
    """Where a model runs. Under torchrun each process takes its share of every batch."""

    device: torch.device
    precision: str = "fp32"

    @classmethod
    def of(cls, device: str | torch.device = "auto", precision: str = "fp32") -> Runtime:
        """Make one from the names that a configuration uses."""
        chosen = device if isinstance(device, torch.device) else choose_device(device)
        if str(chosen) == "cuda" and "LOCAL_RANK" in os.environ:
            chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        return cls(chosen, precision)

    @property
    def uses_kernels(self) -> bool:
        """Whether the compiled kernels can be of use here to any network but the strong one: they compute in fp32 on the processor."""
        return self.device.type == "cpu" and self.precision == "fp32"

    @property
    def rank(self) -> int:
        """Number of this process under torchrun, else 0."""
        return int(os.environ.get("RANK", "0"))

    @property
    def processes(self) -> int:
        """How many processes share the work."""
        return int(os.environ.get("WORLD_SIZE", "1"))

    def fabric(self) -> Fabric | Alone:
        """Make the Fabric, or what stands in its place: to import it takes a second and 80 MB in every process."""
        several = self.processes > 1
        if not several and self.precision == "fp32":
            return Alone()
        from lightning_fabric import Fabric

        # Which arithmetic is used stands in the report, and is not for the console of each process.
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        _join(self.device)
        devices: Any = local if several or self.device.type != "cuda" else [self.device.index or 0]
        fabric = Fabric(
            accelerator=self.device.type,
            devices=devices,
            num_nodes=self.processes // local if several else 1,
            strategy="ddp" if several else "auto",
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
        )
        fabric.launch()
        if several:
            atexit.register(_leave)
        return fabric

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in the chosen precision, outside of training too."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    def load(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Bring pixels (n, c, h, w) to the device as float images in [-1, 1], channels last: faster to convolve."""
        batch = torch.from_numpy(pixels).to(self.device, non_blocking=True)
        return to_images(batch.contiguous(memory_format=torch.channels_last))


def _join(device: torch.device) -> None:
    """Meet the other processes of this attempt of torchrun's, before Fabric would.

    Processes find one another through a store that torchrun's agent keeps over all restarts. Without a name of the attempt's own some
    would read the addresses of the dead there, and all would wait for ever (pytorch/pytorch#135712). Agents of several machines count
    their restarts each for itself, so those need ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` and are left to Fabric.
    """
    told, distributed = os.environ, torch.distributed
    kept = told.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and told.get("GROUP_WORLD_SIZE") == "1"
    if not kept or distributed.is_initialized():
        return
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # documented, but not listed

    store = TCPStore(told["MASTER_ADDR"], int(told["MASTER_PORT"]), is_master=False)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"attempt-{told['TORCHELASTIC_RESTART_COUNT']}", store),
        rank=int(told["RANK"]), world_size=int(told["WORLD_SIZE"]),
    )  # fmt: skip


def _leave() -> None:
    """Wait for the other processes, and end the group: one that goes while another still talks to it can abort that."""
    if torch.distributed.is_initialized():
        # Whoever waits for a process that was killed is told so; torchrun says it, and starts all again.
        with suppress(RuntimeError):
            torch.distributed.barrier()
        torch.distributed.destroy_process_group()


class Alone:
    """What Fabric comes to for one process in full precision."""

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return both as they are; the model is where it trains already."""
        return model, optimizer

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def no_backward_sync(self, model: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        """Do nothing: there are no others to wait for."""
        return nullcontext()

    def all_reduce(self, value: Tensor, *, reduce_op: str) -> Tensor:
        """Return the value: there are no others to add, or to average with."""
        return value


def to_images(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels 0..255 into float in [-1, 1]."""
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run a block under its own seed, and put the process's random numbers back afterwards."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode without gradients, and every module back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
