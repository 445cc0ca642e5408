"""The configuration: one tree of frozen models. Every field is an option of the command line and of a TOML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, PrivateAttr
from pydantic.fields import FieldInfo

from unlabeled.config.grids import (
    AutoencoderGrid,
    ConvolvedGrid,
    FinetuneGrid,
    JointGrid,
    NetworkGrid,
    OpenSetGrid,
    SparseGrid,
    StackedGrid,
    StudiesConfig,
)
from unlabeled.config.settings import (
    AutoencoderConfig,
    ClassicalConfig,
    CurveConfig,
    EncoderConfig,
    Names,
    NetworkConfig,
    Section,
    StrongConfig,
    TrainingConfig,
)
from unlabeled.console.plain import printable
from unlabeled.images.fitting import Fit
from unlabeled.keeping.caching import expand

# Fields that change no result: where things lie, how many run at a time, the report's language.
PLACES = ("out", "cache", "threads", "jobs", "cluster", "lang")

# All sections are had from here, wherever they stand.
__all__ = [
    "AutoencoderConfig",
    "AutoencoderGrid",
    "ClassicalConfig",
    "Config",
    "ConvolvedGrid",
    "CurveConfig",
    "EncoderConfig",
    "FinetuneGrid",
    "JointGrid",
    "NetworkConfig",
    "NetworkGrid",
    "OpenSetGrid",
    "SparseGrid",
    "StackedGrid",
    "StrongConfig",
    "StudiesConfig",
    "TrainingConfig",
]

_SIDES = range(4, 513)


def _read_side(given: Any) -> Any:
    """Return a side as a number, or a width and a height as text; refuse all else."""
    matched = re.fullmatch(r"\s*(\d{1,4})(?:\s*[x×]\s*(\d{1,4}))?\s*", given) if isinstance(given, str) else None
    sides: tuple[int, ...] = (given,) if isinstance(given, int) and not isinstance(given, bool) else ()
    if matched:
        sides = tuple(int(number) for number in matched.groups() if number)
    if not sides or any(side not in _SIDES for side in sides):
        raise ValueError(
            f"give one side of {_SIDES.start} to {_SIDES.stop - 1} pixels, or WIDTHxHEIGHT like 48x64, each of so many"
        )
    return sides[0] if len(set(sides)) == 1 else f"{sides[0]}x{sides[1]}"


def _has_no_nul(given: Any) -> Any:
    if "\0" in str(given):
        raise ValueError("a path holds no character 0")
    return given


Side: TypeAlias = Annotated[int | str, BeforeValidator(_read_side)]
Place: TypeAlias = Annotated[Path, BeforeValidator(_has_no_nul)]
Preset: TypeAlias = Literal["quick", "standard", "full", "patches-2016"]
Lang: TypeAlias = Literal["en", "ru"]
Study: TypeAlias = Literal[
    "gain", "baselines", "network", "autoencoder", "features", "finetune", "stacked", "sparse", "convolved", "joint",
    "open-set", "all",
]  # fmt: skip


STUDY_NAMES: tuple[str, ...] = get_args(Study)[1:-1]


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


# Under this entry point installed packages bring methods.
PLUGINS = "unlabeled.methods"


class MethodsConfig(Section):
    """Options of methods, a section each; those that are registered add theirs."""


class Config(Section):
    """What is run: the main job, or the studies of the course."""

    study: Study = "gain"
    """What to run: gain (what the unlabeled images are worth), one of the course's studies, all of these, or open-set (unlabeled images
    of other classes)."""
    data: Annotated[str, BeforeValidator(_has_no_nul)] = "shapes"
    """Where the images are: shapes, digits, stl10, stl10:PATH (folder or archive), folder:PATH, table:FILE.csv, coco:FILE.json,
    arrays:FILE.npz, hf:FOLDER (saved by datasets), idx:FOLDER (MNIST), cifar:FOLDER (binary) or shards:FOLDER."""
    preset: Preset = "quick"
    """Sizes to start from: quick (minutes), standard (an evening at STL-10's size) or full; patches-2016 is study 8 as a course report
    of 2016 had it, on STL-10 at 96x96."""
    lang: Lang = "en"
    """Language of the report: English or Russian."""
    out: Place | None = None
    """Folder for the results; left out, runs/DATA-PRESET with what differs from the preset behind it, and -studies for studies."""
    cache: Place | None = None
    """Folder for shrunken images; left out, the user's cache folder or UNLABELED_CACHE."""
    side: Side | None = None
    """Size of the shrunken images, pixels: one side, or WIDTHxHEIGHT like 48x64; left out, 32 (8 for digits)."""
    fit: Fit = "crop"
    """What becomes of images of other proportions: the middle is cut out (crop), grey is put around (pad), or they are stretched."""
    leaks: Literal["drop", "keep"] = "drop"
    """What to do with unlabeled or labeled images that stand in test, and with unlabeled ones that are labeled."""
    near: Literal["drop", "keep"] = "drop"
    """What to do with labeled and unlabeled near-copies of test images: shifted, cut, mirrored, recoloured or saved again."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Folds: the first of the data set's own, or stratified ones; left out, all of its own, or 5."""
    own_folds: bool = True
    """Whether the data set's own folds are used where it has some; otherwise folds are stratified parts of all its labels."""
    seeds: int = Field(default=3, ge=1, le=100)
    """Repetitions with other initial weights and orders; each has its own autoencoder, and ways that stand on it need three."""
    difference: float = Field(default=2.0, gt=0, le=100)
    """The smallest difference in accuracy that matters to you, points: effects that are surely smaller are called none."""
    labels: int | None = Field(default=None, ge=2)
    """Labeled images to use at the most, drawn by class; left out, all."""
    unlabeled: int | None = Field(default=None, ge=10)
    """Unlabeled images to use at the most; left out, all."""
    test: int | None = Field(default=None, ge=10)
    """Test images to use at the most; left out, all."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the networks: fp32, bf16, or auto: the strong network in the one that is measured to be faster, others in fp32."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Processor threads; left out, all cores."""
    jobs: int | None = Field(default=None, ge=1, le=1024)
    """Runs at the same time; left out, one a thread of the processor, and one on a GPU."""
    cluster: str = "local"
    """Who computes the runs: local (this machine), dask:ADDRESS (a scheduler of Dask's distributed, or its .json file), slurm, or
    slurm:OPTION=VALUE,... as submitit names them. Images and results must be under paths that all machines see."""
    classifier: Literal["strong", "small", "both"] = "strong"
    """Networks of the main job: the strong one (--strong), the small ones of the studies (--network), or both."""
    start: Place | None = None
    """Weights of your own, a .safetensors, .pt or .pth file, to start a network of the main job from as a further baseline: of a ResNet
    by torchvision's or timm's names, or of the strong network."""
    leave_out: Names = ()
    """Ways of the main job to leave out, and their twins with them: random, pca, frozen, denoised, scaled, finetuned, denoised-network,
    joint, strong, self-training, consistency, pretrained, rotations, or those of installed packages; none leaves out nothing. It takes
    the place of the preset's own list."""
    encoder: EncoderConfig = EncoderConfig()
    """The encoder."""
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    """The autoencoder."""
    network: NetworkConfig = NetworkConfig()
    """The networks."""
    strong: StrongConfig = StrongConfig()
    """The strong network."""
    curve: CurveConfig = CurveConfig()
    """The answer in labels."""
    classical: ClassicalConfig = ClassicalConfig()
    """The classical models."""
    studies: StudiesConfig = StudiesConfig()
    """What the studies vary."""
    shapes: ShapesConfig = ShapesConfig()
    """The embedded data set."""
    methods: MethodsConfig = MethodsConfig()
    """Options of single methods."""

    # What differs from preset and data, as the default folder's name says it; resolve finds it.
    _differing: str = PrivateAttr(default="")

    @property
    def folder(self) -> Path:
        """Where results go: the folder given, or one whose name says what is asked."""
        ending = "" if self.study == "gain" else "-studies"
        return (
            expand(self.out) if self.out else Path("runs") / f"{self.data_name}-{self.preset}{ending}{self._differing}"
        )

    def named(self, differing: str) -> Config:
        """Return the same with an ending of the default folder's name."""
        self._differing = differing
        return self

    @property
    def question(self) -> dict[str, Any]:
        """What decides the answer: all fields but those of where and how quickly it is computed, and in what language it is said."""
        return self.model_dump(mode="json", exclude=set(PLACES))

    @property
    def asked(self) -> dict[str, Any]:
        """The question with every field, to compare with another one; ``question`` leaves out what is as it was before the field came."""
        return {name: value for name, value in self.in_full().items() if name not in PLACES}

    @property
    def source(self) -> str:
        """The kind of data: the part of ``data`` before the colon."""
        return self.data.partition(":")[0]

    @property
    def data_name(self) -> str:
        """What people call the data: the kind, or the name of the folder of images."""
        path = self.data.partition(":")[2]
        if self.source not in ("folder", "table", "coco", "arrays", "hf", "idx", "cifar"):
            return self.source
        place = expand(path).resolve()
        return printable(place.stem if self.source in ("table", "coco", "arrays") else place.name)

    @property
    def pixels(self) -> tuple[int, int]:
        """The (height, width) of the shrunken images."""
        side = self.side or (8 if self.source == "digits" else 32)
        if isinstance(side, int):
            return side, side
        width, _, height = side.partition("x")
        return int(height), int(width)


def add_methods_section(name: str, section: type[Section]) -> None:
    """Give ``--methods`` a section more."""
    MethodsConfig.__pydantic_fields__[name] = FieldInfo.from_annotated_attribute(section, section())
    _rebuild()


def remove_methods_section(name: str) -> None:
    """Take a section of ``--methods`` away."""
    del MethodsConfig.__pydantic_fields__[name]
    _rebuild()


def _rebuild() -> None:
    # What validates and writes a model is made when its class is; a field that comes later needs both made anew, from the inside out.
    MethodsConfig.model_rebuild(force=True)
    described = Config.__pydantic_fields__["methods"].description
    Config.__pydantic_fields__["methods"] = FieldInfo.from_annotated_attribute(MethodsConfig, MethodsConfig())
    Config.__pydantic_fields__["methods"].description = described
    Config.model_rebuild(force=True)
