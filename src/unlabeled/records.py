"""What tasks, comparisons and reports hand to one another: typed, frozen, JSON, checked when it is read; knows nothing of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import ConfigDict, TypeAdapter

from unlabeled.images import Leaks, Near
from unlabeled.outcomes import Diverged, Outcome, Scored

Decision: TypeAlias = Literal["helps", "hurts", "no difference", "imprecise", "unfinished", "reading", "diverged"]
# What an arm of unlabeled images is held against: the same without them, and its twin that learns from the labeled images alone.
Role: TypeAlias = Literal["", "without", "twin"]
Verdict: TypeAlias = Literal["helps", "no evidence", "hurts"]
T = TypeVar("T")


@dataclass(frozen=True)
class Effect:
    """A paired effect: mean difference, 95 % interval, two-sided p, and how it came about.

    ``deviation`` is the standard deviation of the differences; ``parts`` are the variances of the mean that come from folds, seeds and
    test images, ``runs`` what each of the first two holds of the runs' own noise. ``degrees`` are those of the widest part;
    ``correlation`` is that of the folds. If it is ``nested`` no two folds share a seed. One that is not ``decidable`` has too few seeds
    for a verdict, or folds if it is nested.
    """

    mean: float
    low: float
    high: float
    p: float
    degrees: float
    deviation: float
    folds_won: int
    folds: int
    seeds: int
    parts: tuple[float, float, float]
    runs: float = 0.0
    correlation: float = 0.0
    decidable: bool = True
    nested: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies above zero, below, or holds it; with too few runs there is no evidence either way."""
        if self.decidable and self.low > 0:
            return "helps"
        return "hurts" if self.decidable and self.high < 0 else "no evidence"


@dataclass(frozen=True)
class ArmKey:
    """One way to a result: where features or first weights come from, the model on them, and what else tells it from others.

    Attributes
    ----------
    source
        pixels, pca, random, filters, autoencoder, labeled, joint, or a kind of filters of patches.
    model
        What is fitted: logistic, trees, boosting, neighbours, linear-network or network; empty where the source is all there is.
    way
        How it is trained, where there are several ways.
    pooling, scaling
        What is done to features.
    depth, stride
        Blocks of the encoder; pixels from one patch to the next.
    labels, images
        Labels a class and unlabeled images, where they are fewer than all.
    factor, value
        The one thing in which it differs from the base of a study.
    """

    source: str
    model: str = ""
    way: str = ""
    pooling: str = ""
    scaling: str = ""
    depth: int | None = None
    stride: int | None = None
    labels: int | None = None
    images: int | None = None
    factor: str = ""
    value: str = ""

    def on(self, model: str, scaling: str = "") -> ArmKey:
        """Return the arm of a model on these features or first weights."""
        return replace(self, model=model, scaling=scaling)

    def __str__(self) -> str:
        words = [f"{number} {name}" for name in ("labels", "images") if (number := getattr(self, name)) is not None]
        words += [f"{name} {value}" for name in ("depth", "stride") if (value := getattr(self, name)) is not None]
        words += [word for word in (self.way, self.pooling, self.scaling) if word]
        words += [f"{self.factor} {self.value}"] if self.factor else [self.value] if self.value else []
        name = f"{self.source} → {self.model}" if self.model else self.source
        return ", ".join([name, *words])


@dataclass(frozen=True)
class Row:
    """A run: its arm, seed and fold, its folder within the study's, its outcome; one ``apart`` shares nothing random with other folds'."""

    arm: ArmKey
    seed: int
    run: str
    outcome: Outcome
    fold: int | None = None
    apart: bool = False

    @property
    def diverged(self) -> bool:
        """Whether its training diverged."""
        return isinstance(self.outcome, Diverged)

    @property
    def scored(self) -> Scored | None:
        """Its outcome, if it was scored on the test split."""
        return self.outcome if isinstance(self.outcome, Scored) else None


@dataclass(frozen=True)
class Contrast:
    """Two arms that differ in one thing; p values are corrected within a family.

    One that is ``named`` was chosen as the answer before any run, and so is not one of many; ``lead`` marks what a report leads with.
    An arm with a contrast in both roles has a verdict on what the unlabeled images are worth to it (``Worth``).
    """

    treated: ArmKey
    control: ArmKey
    family: str = ""
    named: bool = False
    lead: bool = False
    role: Role = ""


@dataclass(frozen=True)
class ArmSummary:
    """An arm over its runs: mean accuracy (%) and log loss (nats) with intervals, None if a run diverged; medians of the rest."""

    arm: ArmKey
    accuracy: Effect | None
    log_loss: Effect | None
    medians: dict[str, float]
    not_converged: int
    diverged: int
    runs: int
    at_last: int = 0

    @property
    def trained(self) -> bool:
        """Whether at least half of its runs had their best epoch before the last one they were given."""
        return 2 * self.at_last <= self.runs

    @property
    def seconds(self) -> float | None:
        """Seconds of a run, median."""
        return self.medians.get("seconds")


@dataclass(frozen=True)
class Difference:
    """What two arms differ by on a fold with a seed, points of accuracy."""

    fold: int
    seed: int
    accuracy: float


@dataclass(frozen=True)
class ContrastResult:
    """The effect of what two arms differ in; ``p`` is corrected for the number of its family's contrasts."""

    contrast: Contrast
    accuracy: Effect | None
    log_loss: Effect | None
    differences: tuple[Difference, ...] = ()
    p: float | None = None
    verdict: Decision = "diverged"

    @property
    def treated(self) -> ArmKey:
        """The arm that is looked at."""
        return self.contrast.treated

    @property
    def control(self) -> ArmKey:
        """The arm that it is compared with."""
        return self.contrast.control


@dataclass(frozen=True)
class Worth:
    """What the unlabeled images are worth to an arm: its differences to the arm without them and to its twin, and one verdict.

    ``p`` is the greater of both p values, corrected for the number of arms; "helps" needs both differences.
    """

    without: ContrastResult
    twin: ContrastResult
    p: float | None
    verdict: Decision

    @property
    def arm(self) -> ArmKey:
        """The arm."""
        return self.without.treated

    @property
    def named(self) -> bool:
        """Whether it was named as the answer before any run."""
        return self.without.contrast.named


@dataclass(frozen=True)
class Illegal:
    """What could not be built on these images, and why."""

    arm: ArmKey
    reason: str


@dataclass(frozen=True)
class Comparison:
    """All arms of a study, and their contrasts; ``chosen`` is the arm that answers, where it was not named before any run."""

    arms: tuple[ArmSummary, ...] = ()
    contrasts: tuple[ContrastResult, ...] = ()
    worths: tuple[Worth, ...] = ()
    chosen: ArmKey | None = None

    def arm(self, key: ArmKey) -> ArmSummary:
        """Return an arm by its key."""
        return next(arm for arm in self.arms if arm.arm == key)

    def find(self, treated: ArmKey, control: ArmKey) -> ContrastResult | None:
        """Return the contrast of two arms, if it was made."""
        return next((c for c in self.contrasts if (c.treated, c.control) == (treated, control)), None)

    @property
    def named(self) -> ContrastResult:
        """The contrast that is the answer: of the arm that was chosen to what it is without unlabeled images, or named beforehand."""
        if self.chosen is not None:
            return next(c for c in self.contrasts if c.treated == self.chosen and c.contrast.role == "without")
        return next(contrast for contrast in self.contrasts if contrast.contrast.named)

    @property
    def answer(self) -> Worth:
        """What the unlabeled images are worth to the arm that was chosen, or named beforehand."""
        return next(w for w in self.worths if (w.named if self.chosen is None else w.arm == self.chosen))

    def family(self, name: str) -> tuple[ContrastResult, ...]:
        """Return the contrasts of a family."""
        return tuple(contrast for contrast in self.contrasts if contrast.contrast.family == name)


@dataclass(frozen=True)
class FoldsSummary:
    """Folds: how many, whether they are the data set's own, the correlation of their results, least and most images of each."""

    count: int
    own: bool
    correlation: float
    train: tuple[int, int]
    valid: tuple[int, int]


@dataclass(frozen=True)
class Augmented:
    """How a network's training images are changed: mirrored, moved by up to ``shift`` pixels, with a hole, in tone or colour."""

    flip: bool
    shift: int
    cutout: int = 0
    operations: int = 0


@dataclass(frozen=True)
class Protocol:
    """What every number of a study stands on: the images, how they are split, repetitions, arithmetic.

    ``image`` is (channels, height, width). ``flip`` to ``operations`` are the networks' augmentation, the strong one's if there was
    one, as is ``strong_precision``; a small one has ``small_network``. Without labels there are no folds. ``apart``: see ``Row``.
    """

    data: str
    preset: str
    image: tuple[int, int, int]
    class_names: tuple[str, ...]
    labeled: int
    unlabeled: int
    held_out: int
    test: int
    folds: FoldsSummary | None
    seeds: int
    leaks: Leaks
    near: Near
    notes: tuple[str, ...]
    origin: dict[str, Any]
    ensemble: str
    flip: bool
    shift: int
    precision: str
    kernels: bool
    strong_precision: str = ""
    strong_kernels: bool = False
    apart: bool = False
    cutout: int = 0
    operations: int = 0
    small_network: Augmented | None = None


@dataclass(frozen=True)
class Machine:
    """What times and results depend on."""

    device: str
    kernels: bool
    threads: int
    cores: int
    processor: str
    system: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Spread:
    """How many runs of a large stage went on at a time, and the processor threads of each."""

    jobs: int
    threads: int


@dataclass(frozen=True)
class StudyResult:
    """A study as it is kept: what was asked, the protocol, its findings (a record of the study's own), and what it took.

    A study that was not run has the splits that are missing, or why it failed, and nothing else. ``seconds`` are those of all its
    runs, whenever they were made; ``finished_seconds`` is the time of day at its end, in seconds since 1970.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    study: str
    preset: str
    question: dict[str, Any]
    missing: tuple[str, ...] = ()
    failed: str = ""
    config: dict[str, Any] | None = None
    protocol: Protocol | None = None
    findings: dict[str, Any] | None = None
    machine: Machine | None = None
    spread: Spread | None = None
    seconds: float | None = None
    this_run_seconds: float | None = None
    finished_seconds: float | None = None
    peak_memory_mb: float | None = None

    @property
    def answered(self) -> bool:
        """Whether it came to an end."""
        return self.findings is not None


def as_json(value: Any) -> Any:
    """Return a record in JSON's types; what is as it is by default is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Effect):
            return asdict(value)
        return {
            entry.name: as_json(content)
            for entry in fields(value)
            if (content := getattr(value, entry.name)) != entry.default
        }
    if isinstance(value, Mapping):
        return {name: as_json(entry) for name, entry in value.items()}
    return [as_json(entry) for entry in value] if isinstance(value, list | tuple) else value


def read_as(kind: type[T], content: Any) -> T:
    """Return the record that JSON holds; that it holds something else is a ``pydantic.ValidationError``, a ``ValueError``."""
    return _adapter(kind).validate_python(content)  # type: ignore[arg-type]


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def outcomes_of(rows: Iterable[Row], kind: type[T]) -> list[T]:
    """Return the outcomes of one kind, which those that diverged have not."""
    return [row.outcome for row in rows if isinstance(row.outcome, kind)]


def of_arm(rows: Iterable[Row], arm: ArmKey) -> list[Row]:
    """Return an arm's rows."""
    return [row for row in rows if row.arm == arm]
