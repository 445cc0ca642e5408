"""What the main job's numbers do not show, and what its arms are called."""

from __future__ import annotations

from unlabeled import methods
from unlabeled.records import ArmKey
from unlabeled.report.language import Language
from unlabeled.report.sections.parts import Context, model_name, most_accurate
from unlabeled.studies.gain import GainFindings

_LEARNED = 1.2


def arm_name(arm: ArmKey, language: Language) -> str:
    """Name an arm by its method."""
    return methods.arm_name(arm, say=language.say, model=lambda model: model_name(model, language))


def colour_of(arm: ArmKey) -> str:
    """Return the name of an arm's colour."""
    method = methods.method_of(arm)
    return f"method-{method.name}" if method is not None else "pixels"


def caveats(context: Context[GainFindings]) -> list[str]:
    """Say what the numbers do not show."""
    _ = context.language.gettext
    data = context.protocol.data
    drawn = _(
        "Drawn shapes are not photographs: this data set shows how the comparison works, not what your images are worth."
    )
    return [
        _(
            "It is about this encoder, trained this way. Another autoencoder, or a method that learns from unlabeled images "
            "by other means, can be worth more or less."
        ),
        *_of_protocol(context),
        *_of_networks(context),
        *_of_leaks(context),
        *([drawn] if data == "shapes" else []),
        *_of_convergence(context),
    ]


def _of_protocol(context: Context[GainFindings]) -> list[str]:
    """Say what folds and seeds leave open."""
    language, folds, seeds = context.language, context.protocol.folds, context.protocol.seeds
    _ = language.gettext
    assert folds is not None
    labels = "–".join(dict.fromkeys(language.number(n, 0) for n in folds.train))
    told = [
        _("It is about {labels} training labels. With fewer or more the same images can be worth more or less.").format(
            labels=labels
        ),
        _(
            "The intervals cover the draw of the folds' labels, the random seeds and the choice of test images. They do not "
            "cover images taken elsewhere."
        )
        if folds.own
        else _(
            "The intervals cover the split of these labels into training and validation, the random seeds and the choice of "
            "test images. They do not cover another draw of labeled images, or images taken elsewhere."
        ),
    ]
    few = {
        1: _("With one seed there is one autoencoder, and how much autoencoders differ can't be known; use --seeds 3."),
        2: _(
            "Two seeds tell little about how much autoencoders differ; --seeds 3 or more makes the interval steadier."
        ),
    }
    return told + [text for number, text in few.items() if number == seeds]


def _of_networks(context: Context[GainFindings]) -> list[str]:
    best = most_accurate(arm for arm in context.findings.comparison.arms if arm.arm.model == "network")
    if best is None or best[1] >= _LEARNED * 100 / len(context.protocol.class_names):
        return []
    return [
        context.language.gettext(
            "No network is clearly better than guessing, so their difference says nothing yet: train them longer "
            "(--network.training.epochs), or with another learning rate."
        )
    ]


def _of_leaks(context: Context[GainFindings]) -> list[str]:
    language, leaks = context.language, context.protocol.leaks
    _ = language.gettext
    texts = [
        (
            leaks.unlabeled_in_test,
            _(
                "Unlabeled images that stand in the test split too were kept ({n}): the autoencoder has seen test images, so "
                "its numbers are transductive."
            ),
        ),
        (
            leaks.labeled_in_test,
            _("Labeled images that stand in the test split too were kept ({n}): every accuracy is too high."),
        ),
    ]
    return [text.format(n=language.number(n, 0)) for n, text in texts if n and leaks.policy == "keep"]


def _of_convergence(context: Context[GainFindings]) -> list[str]:
    language = context.language
    return [
        language.gettext("{name}: {n} of {runs} runs had not converged; raise --classical.max-iter.").format(
            name=arm_name(arm.arm, language), n=arm.not_converged, runs=arm.runs
        )
        for arm in context.findings.comparison.arms
        if arm.not_converged
    ]
