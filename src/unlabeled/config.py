"""The configuration: one tree of frozen models. Every field is an option of the command line and of a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from unlabeled.grids import (
    AutoencoderGrid,
    ConvolvedGrid,
    FinetuneGrid,
    JointGrid,
    NetworkGrid,
    SparseGrid,
    StackedGrid,
    StudiesConfig,
)
from unlabeled.settings import (
    AutoencoderConfig,
    ClassicalConfig,
    EncoderConfig,
    NetworkConfig,
    Section,
    TrainingConfig,
)

# All sections are had from here, wherever they stand.
__all__ = [
    "AutoencoderConfig",
    "AutoencoderGrid",
    "ClassicalConfig",
    "Config",
    "ConvolvedGrid",
    "EncoderConfig",
    "FinetuneGrid",
    "JointGrid",
    "NetworkConfig",
    "NetworkGrid",
    "SparseGrid",
    "StackedGrid",
    "StudiesConfig",
    "TrainingConfig",
]

Side: TypeAlias = Annotated[int, Field(ge=4, le=512)]
Preset: TypeAlias = Literal["quick", "standard", "full", "patches-2016"]
Lang: TypeAlias = Literal["en", "ru"]
Study: TypeAlias = Literal[
    "gain", "baselines", "network", "autoencoder", "features", "finetune", "stacked", "sparse", "convolved", "joint", "all"
]  # fmt: skip


class ShapesConfig(Section):
    """The embedded data set of drawn shapes."""

    train: int = Field(default=5000, ge=100)
    """Labeled images."""
    test: int = Field(default=4000, ge=10)
    """Test images."""
    unlabeled: int = Field(default=30000, ge=10)
    """Unlabeled images."""
    seed: int = Field(default=0, ge=0)
    """Seed of the drawing."""


class Config(Section):
    """What is run: the main job, or the studies of the course."""

    study: Study = "gain"
    """What to run: gain (what the unlabeled images are worth), one of the nine studies, or all of them."""
    data: str = "shapes"
    """Where the images are: shapes, digits, stl10, stl10:PATH (folder or archive) or folder:PATH."""
    preset: Preset = "quick"
    """Sizes to start from: quick (minutes), standard (an evening at STL-10's size) or full; patches-2016 is study 8 as a course report
    of 2016 had it, on STL-10 at 96x96."""
    lang: Lang = "en"
    """Language of the report: English or Russian."""
    out: Path | None = None
    """Folder for the results; left out, runs/DATA-PRESET, or runs/DATA-PRESET-studies."""
    cache: Path | None = None
    """Folder for shrunken images; left out, the user's cache folder or UNLABELED_CACHE."""
    side: Side | None = None
    """Side of the shrunken images, pixels; left out, 32 (8 for digits)."""
    leaks: Literal["drop", "keep"] = "drop"
    """What to do with unlabeled or labeled images that stand in test, and with unlabeled ones that are labeled."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Folds: the first of the data set's own, or stratified ones; left out, all of its own, or 5."""
    own_folds: bool = True
    """Whether the data set's own folds are used where it has some; otherwise folds are stratified parts of all its labels."""
    seeds: int = Field(default=3, ge=1, le=100)
    """Repetitions with other initial weights and orders; each has its own autoencoder."""
    labels: int | None = Field(default=None, ge=2)
    """Labeled images to use at the most, drawn by class; left out, all."""
    unlabeled: int | None = Field(default=None, ge=10)
    """Unlabeled images to use at the most; left out, all."""
    test: int | None = Field(default=None, ge=10)
    """Test images to use at the most; left out, all."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the networks: fp32, or bf16 where the processor has it."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; left out, all cores."""
    jobs: int | None = Field(default=None, ge=1)
    """Runs at the same time, on the processor only; left out, one a thread."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """The autoencoder."""
    network: NetworkConfig = NetworkConfig()
    """The networks."""
    classical: ClassicalConfig = ClassicalConfig()
    """The classical models."""
    studies: StudiesConfig = StudiesConfig()
    """What the studies vary."""
    shapes: ShapesConfig = ShapesConfig()
    """The embedded data set."""

    @property
    def folder(self) -> Path:
        """Where results go."""
        ending = "" if self.study == "gain" else "-studies"
        return self.out.expanduser() if self.out else Path("runs") / f"{self.data_name}-{self.preset}{ending}"

    @property
    def source(self) -> str:
        """The kind of data: the part of ``data`` before the colon."""
        return self.data.partition(":")[0]

    @property
    def data_name(self) -> str:
        """What people call the data: the kind, or the name of the folder of images."""
        path = self.data.partition(":")[2]
        return Path(path).expanduser().resolve().name if self.source == "folder" else self.source

    @property
    def pixels(self) -> int:
        """The side of the shrunken images."""
        return self.side or (8 if self.source == "digits" else 32)
