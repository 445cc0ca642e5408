"""What the main job's numbers do not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unlabeled.grammar.section import Context
from unlabeled.grammar.tables import most_accurate
from unlabeled.grammar.words import words
from unlabeled.methods import METHODS, is_of, method_of
from unlabeled.methods.strong import SELF_TRAINED, StrongMethod
from unlabeled.outcomes import NetworkOutcome
from unlabeled.records import ArmKey, Comparison

_LEARNED = 1.2
_FEW_SEEDS = {
    1: words("With one seed there is one autoencoder, and how much autoencoders differ can't be known; use --seeds 3."),
    2: words(
        "Two seeds tell little about how much autoencoders differ; --seeds 3 or more makes the interval steadier."
    ),
}
_OWN_FOLDS = words(
    "The intervals cover the draw of the folds' labels, the random seeds and the choice of test images. They do not "
    "cover images taken elsewhere."
)
_STRATIFIED = words(
    "The intervals cover the split of these labels into training and validation, the random seeds and the choice of "
    "test images. They do not cover another draw of labeled images, or images taken elsewhere."
)


def caveats(context: Context[Any]) -> Iterator[str]:
    """Say what the numbers do not show."""
    protocol, folds = context.protocol, context.protocol.folds
    assert folds is not None
    yield context.say(
        "It is about these ways, trained like this. Another network, another way, or the same with more time, can be worth more or less."
    )
    yield context.say(
        "It is about {labels} training labels. With fewer or more the same images can be worth more or less.",
        labels=context.language.ends(folds.train),
    )
    yield context.say(_OWN_FOLDS if folds.own else _STRATIFIED)
    if protocol.seeds in _FEW_SEEDS and _has_common_seeds(context.findings.comparison):
        yield context.say(_FEW_SEEDS[protocol.seeds])
    yield from _of_what_was_left_out(context)
    yield from _of_networks(context)
    yield from _of_strangers(context)
    yield from _of_data(context)
    yield from _of_convergence(context)


def _has_common_seeds(compared: Comparison) -> bool:
    """Tell whether folds have seeds in common: those of anything but the pixels and the strong network's own ways."""
    return any(
        not arm.accuracy.nested for arm in compared.arms if arm.accuracy is not None and arm.arm.source != "pixels"
    )


def _of_what_was_left_out(context: Context[Any]) -> Iterator[str]:
    """Name the ways of using the unlabeled images that could have been run on the network asked for, and were not."""
    names = [
        context.language.title(method.title)
        for method in METHODS
        if method.name in context.config.get("leave_out", ())
        and "unlabeled" in method.uses
        and is_of(method, context.config.get("classifier", ""))
    ]
    if names:
        yield context.say(
            "Left out: {names}. Another way can be worth more, and takes its time: --leave-out none runs all.",
            names="; ".join(names),
        )


def _of_networks(context: Context[Any]) -> Iterator[str]:
    compared = context.findings.comparison
    level = next((arm.accuracy for arm in compared.arms if arm.arm == ArmKey("pixels", "logistic")), None)
    networks = [arm for arm in compared.arms if arm.arm.model == "network" and arm.accuracy is not None]
    for arm in networks:
        if not arm.trained or (level is not None and arm.accuracy.mean < level.mean):
            yield context.say(
                "{name} was not trained to the end: in {arm.at_last} of {arm.runs} runs the last epoch is the best, or it is less "
                "accurate than logistic regression on pixels. Raise {option}.",
                option=_option(arm.arm) + ".training.steps",
                name=context.name(arm.arm),
                arm=arm,
            )
    best = most_accurate(networks)
    if best is not None and best[1] < _LEARNED * 100 / len(context.protocol.class_names):
        yield context.say(
            "No network is clearly better than guessing, so their difference says nothing yet: train them longer "
            "({option}), or with another learning rate.",
            option=_option(best[0]) + ".training.steps",
        )


def _option(arm: ArmKey) -> str:
    """Return the section that says how an arm's network is trained."""
    return "--strong" if isinstance(method_of(arm), StrongMethod) else "--network"


def _of_data(context: Context[Any]) -> Iterator[str]:
    leaks = context.protocol.leaks
    if leaks.policy == "keep" and leaks.unlabeled_in_test:
        yield context.say(
            "Unlabeled images that stand in the test split too were kept ({n:0}): the autoencoder has seen test images, so "
            "its numbers are transductive.",
            n=leaks.unlabeled_in_test,
        )
    if leaks.policy == "keep" and leaks.labeled_in_test:
        yield context.say(
            "Labeled images that stand in the test split too were kept ({n:0}): every accuracy is too high.",
            n=leaks.labeled_in_test,
        )
    if context.protocol.data == "shapes":
        yield context.say(
            "Drawn shapes are not photographs: this data set shows how the comparison works, not what your images are worth."
        )


def _of_strangers(context: Context[Any]) -> Iterator[str]:
    """Say which share of the unlabeled images looks foreign, where students were told."""
    rows = [row.outcome for row in context.findings.rows if row.arm == SELF_TRAINED.arm]
    shares = [one.foreign for one in rows if isinstance(one, NetworkOutcome) and one.foreign is not None]
    if shares:
        yield context.say(
            "{share:%} % of the unlabeled images look foreign: in the strong network's codes they lie further from all labeled images than "
            "95 % of the validation images do. Of images of the same kind it would be 5 %.",
            share=sum(shares) / len(shares),
        )


def _of_convergence(context: Context[Any]) -> Iterator[str]:
    for arm in context.findings.comparison.arms:
        if arm.not_converged:
            yield context.say(
                "{name}: {arm.not_converged} of {arm.runs} runs had not converged; raise --classical.max-iter.",
                name=context.name(arm.arm),
                arm=arm,
            )
