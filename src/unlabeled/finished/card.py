"""The card of a classifier: what it is, how good the procedure that made it is, and what is not known."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from unlabeled.evaluation.calibration import Calibration
from unlabeled.finished import Finished
from unlabeled.finished.classifier import ClassifierConfig
from unlabeled.grammar.words import Language, verdict_name
from unlabeled.presets import command_of


def write_card(finished: Finished, config: ClassifierConfig, *, calibration: Calibration | None) -> str:
    """Return the card as Markdown, with the front matter that hubs of models read."""
    english, lab, compared = Language("en"), finished.lab, finished.findings.comparison
    # Markdown, not a page: nothing is escaped but what stands in the front matter.
    templates = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    templates.filters["write"] = english.write
    text = (files("unlabeled.finished") / "templates" / "card.md.j2").read_text(encoding="utf-8")
    return templates.from_string(text).render(
        config=config,
        data=lab.config.data_name,
        labeled=len(lab.splits.labeled),
        unlabeled=len(lab.splits.unlabeled),
        test=len(lab.splits.test),
        folds=len(lab.folds.folds),
        seeds=lab.config.seeds,
        arm=compared.arm(finished.winner),
        worth=compared.answer,
        verdict=verdict_name(compared.answer.verdict, english),
        calibration=calibration,
        command=command_of(lab.config.question),
    )
