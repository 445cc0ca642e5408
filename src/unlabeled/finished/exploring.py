"""Gather what a finished run knows of its images, for a page to explore: ``explore.html``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.progress import RunProgress
from unlabeled.errors import UserError
from unlabeled.evaluation.choosing import uncertainty
from unlabeled.evaluation.projection import nearest, nearest_within, project
from unlabeled.experiments.applying import (
    Applied,
    PseudoLabels,
    apply,
    ask_together,
    ask_unseen,
    has_network,
    out_of_fold,
    pseudo_labels_of,
)
from unlabeled.experiments.growing import pick
from unlabeled.experiments.reconstructing import picture_of
from unlabeled.experiments.specs import Learned
from unlabeled.experiments.tasks import Task
from unlabeled.experiments.workplace import working_in
from unlabeled.finished import Finished, reopen
from unlabeled.grammar.words import LANGUAGES
from unlabeled.images import Images, Splits
from unlabeled.images.near import find_pairs
from unlabeled.keeping.caching import expand
from unlabeled.methods.strong import SELF_TRAINED
from unlabeled.records import ArmKey, Row, of_arm
from unlabeled.report.explored import SPLITS, UNKNOWN, Explored, Facts, Lists, Pair, Take
from unlabeled.report.explorer import write_explorer
from unlabeled.report.page import page_name, write_report

_NEIGHBOURS = 6
_LISTED = 48  # images of a list, but of those to label next
_PSEUDO_LABELS = 400  # images of the lists of pseudo-labels
_OF_A_CLASS = 8  # of them of a class at the most, kept and left out
_LEAST = 50  # images of a page
_SEED = 0


@dataclass(frozen=True)
class _Judged:
    """What the networks make of all images of a split: probabilities (n, classes), codes (n, d), how far they lie from labeled images (n,).

    ``foreign`` is that as a share of labeled images that lie nearer.
    """

    chances: NDArray[np.float32]
    codes: NDArray[np.float32]
    farness: NDArray[np.float32]
    foreign: NDArray[np.float32]


def explore(
    run: str | Path, *, images: int = 20_000, count: int = 50, lang: str = "en", out: Path | None = None, cache: Path | None = None,
    splits: Splits | None = None, progress: RunProgress | None = None,
) -> Path:  # fmt: skip
    """Write a page to explore what a finished run's best network sees, ``explore.html`` in its folder, and return its path.

    Parameters
    ----------
    run
        Folder of a finished run of the main job.
    images
        How many images the page shows at the most. Of more a sample: what the lists name, and of each split as many as of the others,
        as far as it has so many.
    count
        How many images to label next it names.
    lang
        The page's language: en or ru.
    out
        The file to write.
    cache
        Where the images were kept, if not in the usual place.
    splits
        The images of a run on some made in Python.

    Raises
    ------
    UserError
        If the run is not finished or has no network, or a number is too small.
    """
    run = Path(run)
    if images < _LEAST:
        raise UserError(f"--images {images}: give {_LEAST} or more")
    if count < 1:
        raise UserError(f"--count {count}: give 1 or more")
    finished = reopen(run, cache=cache, splits=splits)
    with progress or RunProgress() as shown, working_in(run, shown.note):
        explored = _Gathering(finished, shown).gather(images, count)
        shown.note("writing the page")
        path = write_explorer(explored, run / page_name("explore", lang) if out is None else expand(out), lang)
        if out is None:  # reports that are there lead to it
            for code in LANGUAGES:
                if (run / page_name("report", code)).is_file():
                    write_report(run, code)
        return path


class _Gathering:
    """Asks a finished run's networks, and lays out what they say."""

    def __init__(self, finished: Finished, progress: RunProgress) -> None:
        self.finished, self.progress = finished, progress
        self.lab, self.splits = finished.lab, finished.lab.splits
        self.way = finished.arm
        self.parts = (self.splits.labeled, self.splits.unlabeled, self.splits.test)

    def gather(self, most: int, count: int) -> Explored:
        networks = self._networks(self.way)
        whole = f"{sum(map(len, self.parts)):,}"
        self.progress.note(f"asking {len(networks)} networks about {whole} images")
        judged = self._judge(networks)
        told = self._pseudo_labels()
        lists = self._lists(judged, told[1], count)
        rows = self._sample([lists.rows(split) for split in range(3)], most)
        self.progress.note(f"placing {sum(map(len, rows)):,} images by their codes")
        return Explored(
            classes=tuple(self.splits.class_names),
            shape=self.splits.labeled.shape,
            take=_taking(self.parts, rows),
            facts=self._facts(judged, told[1], rows, networks),
            lists=lists.placed(rows, self._copies(rows)),
            way=self.way,
            baseline=self._baseline,
            teller=told[0],
            networks=len(networks),
            accuracy=float((judged[2].chances.argmax(axis=1) == self.splits.test.classes).mean()),
            totals=tuple(map(len, self.parts)),
            root=self.finished.names.root(self.lab.config.data),
            rebuild=self._rebuild(rows),
        )

    def _judge(self, networks: Sequence[Applied]) -> list[_Judged]:
        chances = self._ask(self.way, networks, self.parts)
        codes = [networks[0].codes(images) for images in self.parts]
        far = [
            nearest(one, codes[0], 1, same=split == 0).farness[:, :1].max(axis=1, initial=0.0)
            for split, one in enumerate(codes)
        ]
        # The first network has not been trained on these.
        usual = np.sort(far[0][self.lab.folds.folds[0].valid])
        strange = [np.searchsorted(usual, one, side="right") / max(1, len(usual)) for one in far]
        return [
            _Judged(*four)
            for four in zip(chances, codes, far, (one.astype(np.float32) for one in strange), strict=True)
        ]

    def _networks(self, arm: ArmKey) -> list[Applied]:
        """Return the networks of an arm's first seed, one a fold: enough to look at images by, and each other seed takes as long again."""
        return [apply(self.lab, task, folder=self.lab.folder / row.run) for task, row in self._tasks(arm)]

    def _tasks(self, arm: ArmKey) -> list[tuple[Task, Row]]:
        return [(task, row) for task, row in self.finished.tasks(arm) if row.seed == 0]

    def _ask(self, arm: ArmKey, networks: Sequence[Applied], parts: Sequence[Images]) -> list[NDArray[np.float32]]:
        """Ask an arm's networks about labeled images that they were not trained on, and about all others; their mean."""
        labeled = parts[0]
        asked = ask_unseen(self.lab, [task for task, _ in self._tasks(arm)], networks)
        unseen = out_of_fold(asked, len(labeled), self.lab.classes)
        lacking = np.flatnonzero(~np.isfinite(unseen[:, 0]))
        if len(lacking):  # with folds of the data set's own some labeled images may train every network
            unseen[lacking] = ask_together(networks, labeled.subset(lacking))
        return [unseen, *(ask_together(networks, images) for images in parts[1:])]

    def _pseudo_labels(self) -> tuple[ArmKey | None, PseudoLabels | None]:
        """Return the pseudo-labels of the best way's first run, or of self-training's where the best way has none."""
        ran = {row.arm for row in self.finished.findings.rows}
        for arm in (self.way, *SELF_TRAINED.arms):
            if arm in ran and len(self.splits.unlabeled):
                task, row = self.finished.tasks(arm)[0]
                found = pseudo_labels_of(self.lab, task, folder=self.lab.folder / row.run)
                if found is not None:
                    return arm, found
        return None, None

    def _lists(self, judged: Sequence[_Judged], told: PseudoLabels | None, count: int) -> _Found:
        labeled, unlabeled, _ = judged
        looks = self.finished.findings.looks
        found = _Found()
        if len(self.splits.unlabeled):
            codes = unlabeled.codes, labeled.codes
            pool, known = self.splits.unlabeled, self.splits.labeled
            found.label_next = pick(unlabeled.chances, pool, known, codes, count, classes=self.lab.classes)
            found.uncertain = np.argsort(-uncertainty(unlabeled.chances), kind="stable")[:_LISTED]
            far = np.flatnonzero(unlabeled.foreign >= 1)
            found.foreign = far[np.argsort(-unlabeled.farness[far], kind="stable")][:_LISTED]
            found.counts["foreign"] = len(far)
        if looks is not None:
            suspects = looks.suspects
            if suspects is not None:
                found.suspects = np.array(suspects.rows[:_LISTED], dtype=np.intp)
                found.likely = tuple(suspects.likely[:_LISTED])
                found.counts["suspects"] = len(suspects)
            found.to_right, found.to_wrong = (
                np.array(some[:_LISTED], dtype=np.intp) for some in (looks.to_right, looks.to_wrong)
            )
            found.counts |= {"to_right": len(looks.to_right), "to_wrong": len(looks.to_wrong)}
        if told is not None:
            random, groups = np.random.default_rng(_SEED), min(self.lab.classes, _PSEUDO_LABELS // 2)
            most = min(_OF_A_CLASS, _PSEUDO_LABELS // (2 * groups))
            for one in range(groups):
                for where, used in ((found.kept, True), (found.left_out, False)):
                    members = random.permutation(np.flatnonzero((told.classes == one) & (told.used == used)))
                    if len(members):
                        where[one] = members[:most]
            found.counts |= {"kept": int(told.used.sum()), "left_out": int((~told.used).sum())}
        return found

    def _sample(self, wanted: Sequence[NDArray[np.intp]], most: int) -> list[NDArray[np.intp]]:
        """Return rows of each split: those wanted, and others at random, so that each split has as many as the others, or all it has."""
        sizes = [len(images) for images in self.parts]
        shares = _level(sizes, most)
        random, rows = np.random.default_rng(_SEED), []
        for size, share, some in zip(sizes, shares, wanted, strict=True):
            others = random.permutation(np.setdiff1d(np.arange(size), some))
            rows.append(np.sort(np.concatenate([some, others[: max(0, share - len(some))]]).astype(np.intp)))
        return rows

    def _facts(
        self, judged: Sequence[_Judged], told: PseudoLabels | None, rows: Sequence[NDArray[np.intp]], networks: Sequence[Applied]
    ) -> Facts:  # fmt: skip
        split = np.repeat(np.arange(3, dtype=np.uint8), [len(one) for one in rows])
        codes = np.concatenate([one.codes[some] for one, some in zip(judged, rows, strict=True)])
        labels = [
            self.splits.labeled.classes[rows[0]],
            np.full(len(rows[1]), UNKNOWN),
            self.splits.test.classes[rows[2]],
        ]
        pseudo, used = np.full(len(split), UNKNOWN, dtype=np.int16), np.zeros(len(split), dtype=bool)
        if told is not None:
            pseudo[split == 1], used[split == 1] = told.classes[rows[1]], told.used[rows[1]]
        names = self.finished.names
        root = names.root(self.lab.config.data)
        given = [getattr(names, name)[row] for name, some in zip(SPLITS, rows, strict=True) for row in some.tolist()]
        near = self._neighbours(codes, rows, networks)
        return Facts(
            split,
            np.concatenate(labels).astype(np.int16),
            project(codes),
            np.concatenate([one.chances[some] for one, some in zip(judged, rows, strict=True)]),
            self._without(rows),
            np.concatenate([one.foreign[some] for one, some in zip(judged, rows, strict=True)]),
            labeled=near[0],
            unlabeled=near[1],
            pseudo=pseudo,
            used=used,
            names=tuple(given if root is None else (os.path.relpath(name, root) for name in given)),
        )

    def _neighbours(
        self, codes: NDArray[np.float32], rows: Sequence[NDArray[np.intp]], networks: Sequence[Applied]
    ) -> list[NDArray[np.intp]]:
        """Return the nearest labeled and unlabeled images of the page for each of its images, by places on the page.

        Of a labeled image by a network that it did not train: one that knows its label by heart would put it among others of that label.
        """
        split = np.repeat(np.arange(3), [len(one) for one in rows])
        near = [nearest_within(codes, split, among, _NEIGHBOURS) for among in (0, 1)]
        settled = np.zeros(len(rows[0]), dtype=bool)
        for number, ((task, _), network) in enumerate(zip(self._tasks(self.way), networks, strict=True)):
            unseen = ~np.isin(rows[0], self.lab.folds.folds[task.fold or 0].train) & ~settled
            settled |= unseen
            if number and unseen.any():  # the first network's are there
                kept = [
                    network.codes(images.subset(some)) for images, some in zip(self.parts[:2], rows[:2], strict=True)
                ]
                own = np.concatenate([*kept, np.zeros((len(rows[2]), *kept[0].shape[1:]), dtype=np.float32)])
                for among in (0, 1):
                    near[among][: len(rows[0])][unseen] = nearest_within(own, split, among, _NEIGHBOURS)[
                        : len(rows[0])
                    ][unseen]
        return near

    @property
    def _baseline(self) -> ArmKey | None:
        """The way's baseline, if it is a network."""
        contrasts = self.finished.findings.comparison.contrasts
        control = next((c.control for c in contrasts if c.treated == self.way and c.contrast.role == "without"), None)
        return control if control is not None and self._are_networks(control) else None

    def _are_networks(self, arm: ArmKey) -> bool:
        return bool(of_arm(self.finished.findings.rows, arm)) and all(
            has_network(task) for task, _ in self.finished.tasks(arm)
        )

    def _without(self, rows: Sequence[NDArray[np.intp]]) -> NDArray[np.float32] | None:
        if self._baseline is None:
            return None
        networks = self._networks(self._baseline)
        labeled = self._ask(self._baseline, networks, self.parts[:1])[0][rows[0]]
        rest = zip(self.parts[1:], rows[1:], strict=True)
        return np.concatenate([labeled, *(ask_together(networks, images.subset(some)) for images, some in rest)])

    def _copies(self, rows: Sequence[NDArray[np.intp]]) -> tuple[int, tuple[Pair, ...]]:
        """Find near-copies among the images of the page: how many pairs, and the best ones."""
        sampled = dict(
            zip(SPLITS, (images.subset(some) for images, some in zip(self.parts, rows, strict=True)), strict=True)
        )
        starts = dict(zip(SPLITS, np.cumsum([0, *map(len, rows)]).tolist(), strict=False))
        pairs = [
            Pair(starts[one] + first, starts[other] + second, round(score, 3))
            for (one, other), found in find_pairs(sampled)[1].items()
            for first, second, score in zip(
                found.first.tolist(), found.second.tolist(), found.score.tolist(), strict=True
            )
        ]
        best = sorted(pairs, key=lambda pair: (-pair.agreement, pair.first, pair.second))
        return len(pairs), tuple(best[: _LISTED // 2])

    def _rebuild(self, rows: Sequence[NDArray[np.intp]]) -> Take | None:
        """Return what the first autoencoder makes of images of the page, if one was trained."""
        config = self.lab.config
        learned = Learned(config.encoder, config.autoencoder, 0)
        if not self.finished.findings.autoencoders or not self.lab.autoencoder_run(learned).folder.is_dir():
            return None
        model, take = self.lab.trained_autoencoder(learned), _taking(self.parts, rows)
        return lambda places: picture_of(self.lab, model, take(places))


class _Found:
    """The lists by rows of their splits, before it is known which images the page has."""

    def __init__(self) -> None:
        none = np.empty(0, dtype=np.intp)
        self.uncertain = self.label_next = self.suspects = self.to_right = self.to_wrong = self.foreign = none
        self.likely: tuple[int, ...] = ()
        self.kept: dict[int, NDArray[np.intp]] = {}
        self.left_out: dict[int, NDArray[np.intp]] = {}
        self.counts: dict[str, int] = {}

    def rows(self, split: int) -> NDArray[np.intp]:
        """Return the rows of a split that a list names."""
        pseudo = (*self.kept.values(), *self.left_out.values())
        named = (
            (self.suspects,),
            (self.uncertain, self.label_next, self.foreign, *pseudo),
            (self.to_right, self.to_wrong),
        )[split]
        return np.unique(np.concatenate(named))

    def placed(self, rows: Sequence[NDArray[np.intp]], copies: tuple[int, tuple[Pair, ...]]) -> Lists:
        """Return the lists by places on the page."""
        starts = np.cumsum([0, *map(len, rows)]).tolist()

        def on_page(split: int, some: NDArray[np.intp]) -> tuple[int, ...]:
            return tuple((starts[split] + np.searchsorted(rows[split], some)).tolist())

        return Lists(
            on_page(1, self.uncertain),
            on_page(1, self.label_next),
            on_page(0, self.suspects),
            self.likely,
            copies[1],
            on_page(2, self.to_right),
            on_page(2, self.to_wrong),
            on_page(1, self.foreign),
            {one: on_page(1, some) for one, some in self.kept.items()},
            {one: on_page(1, some) for one, some in self.left_out.items()},
            {**self.counts, "copies": copies[0]},
        )


def _level(sizes: Sequence[int], most: int) -> list[int]:
    """Share a number out so that all get as much, but none more than it has room for."""
    shares, left = [0] * len(sizes), most
    for waiting, place in zip(range(len(sizes), 0, -1), np.argsort(sizes, kind="stable").tolist(), strict=True):
        shares[place] = min(sizes[place], left // waiting)
        left -= shares[place]
    return shares


def _taking(parts: Sequence[Images], rows: Sequence[NDArray[np.intp]]) -> Take:
    """Return what copies pixels of the page's images."""
    starts = np.cumsum([0, *map(len, rows)])

    def take(places: NDArray[np.intp]) -> NDArray[np.uint8]:
        pixels = np.empty((len(places), *parts[0].shape), dtype=np.uint8)
        for split, images in enumerate(parts):
            here = (places >= starts[split]) & (places < starts[split + 1])
            if here.any():
                pixels[here] = images.take(rows[split][places[here] - starts[split]])
        return pixels

    return take
