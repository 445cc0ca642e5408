"""No sentence of a report is written by heart: with other numbers it says something else, and never the contrary."""

import re
from dataclasses import fields, is_dataclass, replace

import pytest

from conftest import read_study
from unlabeled.grammar.section import Context
from unlabeled.grammar.words import Language
from unlabeled.outcomes import AutoencoderOutcome
from unlabeled.records import ArmSummary, ContrastResult, Effect, Row, Worth, as_json
from unlabeled.report.course import course_answer
from unlabeled.studies import COURSE, GAIN
from unlabeled.studies.depths import PairErrors
from unlabeled.studies.features import CODES, NETWORK
from unlabeled.studies.finetune import tuned
from unlabeled.studies.joint import LABELED_ONLY
from unlabeled.studies.lead import _precision, lead
from unlabeled.studies.penalties import BASE, IN_BATCHES, UNTRAINED, SparseLine
from unlabeled.studies.search import Line
from unlabeled.studies.variants import Factor, LayerGradients, Rates

pytestmark = pytest.mark.usefixtures("undrawn")
KNOWN = {study.name: study for study in (GAIN, *COURSE)}
ENGLISH = Language("en")
# What each verdict is called, in whatever sentence.
WORDS = {
    "helps": r"\bhelps?\b|\bbetter\b|\bgains?\b|\bYes\b",
    "hurts": r"\bhurts?\b|\bworse\b|\bNo: ",
    "no difference": r"\bno difference\b",
    "imprecise": r"\btoo imprecise\b",
    "unfinished": r"\bnot trained to the end\b",
    "reading": r"\bno verdict\b|\bwithout a verdict\b",
    "diverged": r"\bdiverged\b",
}
# Sentences that have a verdict's word and claim nothing of the kind; their numbers are looked at below.
NO_CLAIMS = re.compile(
    r"so there is no verdict|\b0 help, by both differences|\b0 hurt, by|step helps [a-z ]+: not shown|is there evidence that the "
    r"autoencoder helps|On \d+ of \d+ folds [^;]* is better|No model gains|In the mean [a-z ]+ gains most|no better than always guessing|"
    "A course report of 2016 found .* Here: "
)
INTERVALS = {"helps": (3.0, 1.0, 5.0), "hurts": (-3.0, -5.0, -1.0), "no difference": (0.5, -1.0, 1.5)}
UNDECIDED = (1.0, -4.0, 6.0)


@pytest.fixture(scope="module")
def contexts(finished_gain, finished_studies):
    """What every study's pages are written from."""
    folders = {name: finished_gain if name == "gain" else finished_studies / name for name in KNOWN}
    return {
        name: Context.of(KNOWN[name].findings, read_study(folder), folder, ENGLISH) for name, folder in folders.items()
    }


def altered(value, change):
    """Pass every record within a value, runs apart, through ``change``, the inner ones first."""
    if isinstance(value, Row):
        return value
    if is_dataclass(value):
        return change(replace(value, **{f.name: altered(getattr(value, f.name), change) for f in fields(value)}))
    return tuple(altered(entry, change) for entry in value) if isinstance(value, tuple) else value


def with_(context, kind, change):
    """Alter the records of one kind."""
    found = altered(context.findings, lambda record: change(record) if isinstance(record, kind) else record)
    return replace(context, findings=found)


def said(context, name):
    """All that a study's pages claim: conclusions, captions, points, and the cells and notes of tables; and what the report leads with."""
    lines = [lead(replace(context, page=GAIN.pages[0])).headline] if name == "gain" else []
    for page in KNOWN[name].pages:
        section = page.write(context)
        lines += section.conclusion
        for part in section.parts:
            lines += [part] if isinstance(part, str) else [getattr(part, "caption", "")]
            lines += getattr(part, "lines", []) if not hasattr(part, "title") else []
            for row in getattr(part, "rows", []):
                lines += [getattr(cell, "text", cell) for cell in row] if hasattr(part, "heads") else []
    return [line for line in lines if line]


def concluded(context, name):
    return " ".join(line for page in KNOWN[name].pages for line in page.write(context).conclusion)


def the_line(context, name, start):
    """The one sentence that begins so."""
    (line,) = [line for line in said(context, name) if line.startswith(start)]
    return line


def effect(verdict, before, *, sign=1):
    mean, low, high = (sign * value for value in INTERVALS.get(verdict, UNDECIDED))
    won = before.folds if mean > 0 else 0
    return replace(before, mean=mean, low=min(low, high), high=max(low, high), folds_won=won, decidable=True)


def all_alike(verdict):
    """Let every comparison come to one verdict, and whatever else tells of it agree."""

    def of_contrast(record):
        if verdict == "diverged":
            return ContrastResult(record.contrast, None, None)
        return replace(record, accuracy=effect(verdict, record.accuracy), verdict=verdict)

    def of_errors(record):  # less is better
        found = None if verdict == "diverged" else effect(verdict, record.effect, sign=-1)
        return replace(record, effect=found, verdict=verdict)

    def of_arm(record):
        if verdict == "diverged" and record.arm.source != "pixels":
            return replace(record, accuracy=None, log_loss=None, diverged=record.runs)
        at_last = record.runs if verdict == "unfinished" and record.arm.model == "network" else 0
        return replace(record, accuracy=replace(record.accuracy, mean=50.0), not_converged=0, at_last=at_last)

    ways = {
        ContrastResult: of_contrast,
        PairErrors: of_errors,
        ArmSummary: of_arm,
        Worth: lambda record: replace(record, verdict=verdict),
        Factor: lambda record: replace(record, best=None if verdict == "diverged" else record.arms[-1]),
        Rates: lambda record: replace(record, diverged=0),
    }
    return lambda record: ways.get(type(record), lambda same: same)(record)


# Nothing of the baselines is trained in epochs or can diverge, and the main job has no answer if anything did.
NEVER = {("baselines", "unfinished"), ("baselines", "diverged"), ("gain", "diverged")}
COMPARING = ("gain", "baselines", "network", "features", "finetune", "stacked", "convolved", "joint")


@pytest.mark.parametrize("name", COMPARING)
def test_sentences_say_the_verdicts_word_and_no_other(contexts, name):
    conclusions = []
    for verdict, word in WORDS.items():
        if (name, verdict) in NEVER:
            continue
        context = replace(contexts[name], findings=altered(contexts[name].findings, all_alike(verdict)))
        lines = [NO_CLAIMS.sub("", line) for line in said(context, name)]
        assert any(re.search(word, line, re.IGNORECASE) for line in lines), verdict
        for other, its_word in WORDS.items():
            wrong = [line for line in lines if other != verdict and re.search(its_word, line, re.IGNORECASE)]
            assert not wrong, (verdict, wrong)
        # Nothing is announced and then left out.
        assert not [line for line in lines if re.search(r": ?(\.|;|$)|\(\)", line)], verdict
        conclusions.append(lines[0] if name == "gain" else concluded(context, name))
    assert len(set(conclusions)) == len(conclusions)


@pytest.mark.parametrize("name", COMPARING)
def test_an_interval_without_zero_beside_no_verdict_is_explained(contexts, name):
    for verdict in ("imprecise", "no difference"):
        for low, told in ((-0.5, False), (0.5, True)):
            context = with_(
                contexts[name],
                ContrastResult,
                lambda c, low=low, verdict=verdict: replace(
                    c, accuracy=replace(c.accuracy, mean=1.0, low=low, high=1.5), verdict=verdict
                ),
            )
            notes = [getattr(part, "note", "") for page in KNOWN[name].pages for part in page.write(context).parts]
            explained = any("An interval that leaves out zero is no verdict by itself" in note for note in notes)
            # The tables of these two hold more than comparisons.
            assert explained == (told and name not in ("network", "stacked"))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("gain", "The most accurate in the mean: "), ("joint", "The most accurate in the mean: "),
        ("baselines", "The most accurate on pixels is "), ("stacked", "(Codes|Network): the most accurate in the mean is "),
        ("finetune", "The highest mean accuracy, by number of labels: "),
    ],
)  # fmt: skip
def test_the_most_accurate_is_whichever_is(contexts, name, start):
    context = replace(contexts[name], page=next(page for page in KNOWN[name].pages if page.names))
    compared = context.findings.all_labels.comparison if name == "finetune" else context.findings.comparison
    drawn = [summary.arm for summary in compared.arms if name != "finetune" or summary.arm.way in ("plain", "frozen")]
    for arm in drawn:
        other = with_(
            context,
            ArmSummary,
            lambda one, arm=arm: replace(one, accuracy=replace(one.accuracy, mean=91.25 if one.arm == arm else 50.0)),
        )
        best = [line for line in said(other, name) if re.match(start, line)]
        told = context.model(arm.model) if name == "baselines" else context.name(arm)
        assert any(f"{told}, 91.2 %" in line or f"all labels: {told}." in line for line in best), (told, best)


def test_ways_that_help_and_hurt_are_counted_as_they_are_judged(contexts):
    worths = contexts["gain"].findings.comparison.worths
    for helps, hurts in ((0, 0), (2, 1), (1, 3), (len(worths), 0)):
        verdicts = iter(["helps"] * helps + ["hurts"] * hurts + ["imprecise"] * (len(worths) - helps - hurts))
        context = with_(
            contexts["gain"], Worth, lambda worth, verdicts=verdicts: replace(worth, verdict=next(verdicts))
        )
        assert the_line(context, "gain", "Of ") == (
            f"Of {len(worths)} ways to use the unlabeled images {helps} help, by both differences, and {hurts} hurt, by the difference to "
            "doing without."
        )


def test_the_worst_autoencoder_speaks_for_all(contexts):
    context = contexts["gain"]

    def with_errors(*shares):
        rows = context.findings.autoencoders
        outcomes = [
            replace(row.outcome, held_out_mse=s, held_out_variance=1.0) for row, s in zip(rows, shares, strict=True)
        ]
        found = tuple(replace(row, outcome=outcome) for row, outcome in zip(rows, outcomes, strict=True))
        assert all(isinstance(outcome, AutoencoderOutcome) for outcome in outcomes)
        return the_line(
            replace(context, findings=replace(context.findings, autoencoders=found)), "gain", "On unlabeled"
        )

    assert "which explains 60.0 % of the pixels' variance at the least" in with_errors(0.1, 0.4)
    for shares in ((0.1, 1.2), (1.5, 1.2)):
        assert "no better than always guessing the mean image" in with_errors(*shares)
        assert "explains" not in with_errors(*shares)


def test_what_the_main_job_does_not_show_follows_its_runs(contexts):
    calm = with_(
        contexts["gain"],
        ArmSummary,
        lambda arm: replace(arm, accuracy=replace(arm.accuracy, mean=50.0), at_last=0, not_converged=0),
    )
    told = ("was not trained to the end", "had not converged", "No network is clearly better than guessing")
    for number, change in enumerate((
        lambda arm: replace(arm, at_last=arm.runs),
        lambda arm: replace(arm, not_converged=1),
        lambda arm: replace(arm, accuracy=replace(arm.accuracy, mean=10.0)),
    )):  # fmt: skip
        lines = " ".join(said(with_(calm, ArmSummary, change), "gain"))
        assert not any(word in " ".join(said(calm, "gain")) for word in told)
        assert [word in lines for word in told] == [place == number for place in range(3)]
    below = with_(
        calm, ArmSummary, lambda a: replace(a, accuracy=replace(a.accuracy, mean=50.0 - (a.arm == LABELED_ONLY)))
    )
    assert sum("was not trained to the end" in line for line in said(below, "gain")) == 1


def test_what_validation_prefers_is_told_beside_its_reference(contexts):
    context = replace(contexts["network"], page=KNOWN["network"].pages[0])
    compared = altered(context.findings.comparison, all_alike("hurts"))
    for factor in context.findings.factors:
        name = factor.name
        for arm in factor.arms:
            factors = tuple(replace(f, best=arm) if f.name == name else f for f in context.findings.factors)
            other = replace(context, findings=replace(context.findings, comparison=compared, factors=factors))
            captions = [line for line in said(other, "network") if ": validation prefers " in line]
            (line,) = [captions[number] for number, one in enumerate(factors) if one.name == name]
            value = context.name(arm).partition(": ")[2]
            assert value in line.partition(" (test accuracy")[0]
            assert ("; against " in line) == (arm != factor.reference)
            assert line.count("worse") == len(factor.arms) - 1
            if name == "optimizer":
                assert value in concluded(other, "network").partition("Of the optimisers validation prefers ")[2]


def test_gradients_vanish_where_their_numbers_do(contexts):
    for ratio, vanishes in ((0.5, False), (0.001, True)):
        context = with_(
            contexts["network"], LayerGradients, lambda g, r=ratio: replace(g, first=(r, 1.0), last=(1.0, 1.0))
        )
        text = concluded(context, "network")
        assert ("It all but vanishes (below 0.01) with " in text) == vanishes
        assert ("it does not vanish at this depth" in text) == (not vanishes)


def test_no_other_network_is_faster_and_better(contexts):
    """One that is both stands alone in the sentence."""
    context = replace(contexts["network"], page=KNOWN["network"].pages[0])
    for arm in [summary.arm for summary in context.findings.comparison.arms][:3]:

        def change(one, arm=arm):
            own = one.arm == arm
            medians = one.medians | {"seconds_to_best": 1.0 if own else 2.0}
            return replace(one, medians=medians, accuracy=replace(one.accuracy, mean=80.0 if own else 50.0))

        line = the_line(with_(context, ArmSummary, change), "network", "No other network is both faster")
        assert line.endswith(f"more accurate than: (1) {context.name(arm)} (1.0 s, 80.0 %).")


def test_the_search_is_told_by_its_errors(contexts):
    context, variance = contexts["autoencoder"], contexts["autoencoder"].findings.held_out_variance
    chosen, lines = context.findings.chosen, context.findings.candidates

    def search(change):
        return with_(context, Line, change)

    good, bad = (search(lambda line, m=m: replace(line, mse=m * variance)) for m in (0.25, 1.25))
    assert "it explains 75.0 % of the pixels' variance" in concluded(good, "autoencoder")
    assert "that is no better than always guessing the mean image" in concluded(bad, "autoencoder")
    assert "explains" not in concluded(bad, "autoencoder")
    # Those that are shown have pictures, so they came to an end.
    ended = {line.arm for line in lines if line.kernel == 3} | set(context.findings.shown)
    known = len(ended)
    some = search(lambda line: replace(line, mse=0.125 if line.arm == chosen else 0.5 if line.arm in ended else None))
    assert known < len(lines)
    assert f"The worst of {known} candidates has 0.5000." in concluded(some, "autoencoder")
    for beside, count in ((0.01, len(lines)), (-0.01, 0)):
        other = search(lambda line, d=beside: replace(line, pca=line.mse + d, bicubic=line.mse - d))
        expected = f"{count} are better than PCA of the same length and {len(lines) - count} better than bicubic"
        assert expected in concluded(other, "autoencoder")
    least = [line for line in said(context, "autoencoder") if line.startswith("Least error by ")]
    mirrored = search(lambda line: replace(line, mse=1.0 - line.mse))
    assert least
    assert not set(least) & set(said(mirrored, "autoencoder"))


@pytest.mark.parametrize(
    ("constant", "wrong", "said_so"),
    [
        (0.5, 0.3, "more of the image is in the code."), (0.3, 0.5, "more of the image is in the switches."),
        (0.4, 0.4, "as much of the image is in the one as in the other."), (0.2, 0.1, "this autoencoder has learned nothing yet."),
    ],
)  # fmt: skip
def test_code_and_switches_are_weighed_by_what_is_lost(contexts, constant, wrong, said_so):
    context = contexts["autoencoder"]
    switches = replace(context.findings.switches, true=0.2, constant_code=constant, wrong_switches=wrong)
    other = replace(context, findings=replace(context.findings, switches=switches))
    assert concluded(other, "autoencoder").endswith(said_so)


def test_filters_are_localised_as_far_as_their_numbers_say(contexts):
    context = contexts["sparse"]
    for after, before, start in ((0.6, 0.1, "Most filters are localised: 60 %"), (0.3, 0.1, "Some filters are localised: 30 %"),
                                 (0.3, 0.25, "The filters are not clearly more localised than before training: 30 %"),
                                 (0.1, 0.4, "The filters are not clearly more localised than before training: 10 %")):  # fmt: skip

        def change(line, shares=((BASE, after), (UNTRAINED, before))):
            share = dict(shares).get(line.arm, 0.0)
            return replace(line, means=replace(line.means, filters=replace(line.means.filters, localised=share)))

        assert start in concluded(with_(context, SparseLine, change), "sparse")


def test_what_the_penalty_costs_and_what_diverged_is_told(contexts):
    context = contexts["sparse"]
    for ours, theirs in ((0.25, 0.5), (0.5, 0.25)):
        other = with_(
            context,
            SparseLine,
            lambda line, a=ours, b=theirs: replace(
                line, means=replace(line.means, explained=a if line.arm == BASE else b)
            ),
        )
        told = f"with it {100 * ours:.1f} % of the variance are explained, without it {100 * theirs:.1f} %."
        assert told in concluded(other, "sparse")
    for arm, told in (
        (IN_BATCHES, "diverged: batches."),
        (BASE, "The base diverged, so there is nothing to conclude."),
    ):
        other = with_(context, SparseLine, lambda line, arm=arm: replace(line, means=None) if line.arm == arm else line)
        assert concluded(other, "sparse").endswith(told)
        assert told not in concluded(context, "sparse")


def test_which_model_gains_most_from_codes_follows_the_means(contexts):
    context = contexts["features"]
    for best, others, told in (
        (5.0, 1.0, "In the mean random forest gains most from the codes over pixels: +5.0"),
        (-1.0, -5.0, "No model gains from the codes over pixels; the least loss is random forest's: −1.0"),
    ):
        other = with_(
            context,
            ContrastResult,
            lambda c, a=best, b=others: replace(
                c, accuracy=replace(c.accuracy, mean=a if c.treated.model == "trees" else b)
            ),
        )
        assert any(line.startswith(told) for line in said(other, "features"))


def test_what_diverged_is_called_by_its_name(contexts):
    """Codes and the network are compared; either can be what diverged."""
    lines = {
        NETWORK: "The network of study 2 diverged.",
        CODES.on("logistic"): "The autoencoder diverged, so there are no codes",
    }
    for arm in lines:

        def change(record, arm=arm):
            if isinstance(record, ArmSummary) and record.arm == arm:
                return replace(record, accuracy=None, log_loss=None, diverged=2)
            if isinstance(record, ContrastResult) and arm in (record.treated, record.control):
                return ContrastResult(record.contrast, None, None)
            return record

        context = replace(contexts["features"], findings=altered(contexts["features"].findings, change))
        assert [line in concluded(context, "features") for line in lines.values()] == [other == arm for other in lines]


def test_the_pattern_of_2016_is_shown_by_verdicts_alone(contexts):
    shown = ("each step helps logistic regression: shown", "some step helps trees: shown")
    for verdict, model, expected in (("helps", "logistic", (True, False)), ("helps", "trees", (False, True)),
                                     ("hurts", "logistic", (False, False)), ("unfinished", "trees", (False, False))):  # fmt: skip
        context = with_(
            contexts["convolved"],
            ContrastResult,
            lambda c, v=verdict, m=model: replace(c, verdict=v if c.contrast.family == f"pattern {m}" else "imprecise"),
        )
        assert tuple(line in concluded(context, "convolved") for line in shown) == expected


def test_both_ways_to_logistic_regression_agree_only_if_they_do(contexts):
    context = contexts["baselines"]
    for agrees, start in (
        (True, "Both ways to logistic regression agree: "),
        (False, "The two ways to logistic regression do not"),
    ):
        agreement = replace(context.findings.agreement, agrees=agrees, same_answers=0.875)
        other = replace(context, findings=replace(context.findings, agreement=agreement))
        assert "the same answer on at least 87.50 %" in the_line(other, "baselines", start)


def test_where_fine_tuning_helps_and_hurts_is_told_point_by_point(contexts):
    """Of two points one helps and one hurts; each is named where it belongs, whichever it is."""
    context = contexts["finetune"]
    for helping, hurting in ((None, 10), (10, None)):

        def change(c, helping=helping):
            if c.treated not in (tuned("plain"), tuned("plain", 10)):
                return replace(c, verdict="imprecise")
            return replace(c, verdict="helps" if c.treated.labels == helping else "hurts")

        other = with_(context, ContrastResult, change)
        names = {None: "all labels", 10: "10 a class"}
        line = the_line(other, "finetune", "By number of labels")
        assert (
            f"The autoencoder helps with: {names[helping]}, fine-tuned. It hurts with: {names[hurting]}, fine-tuned."
            in line
        )
        assert f"helps: {names[helping]}; hurts: {names[hurting]}." in concluded(other, "finetune")


def test_the_courses_answer_tells_a_missing_study_from_one_that_diverged(finished_studies, contexts):
    results = {study.name: read_study(finished_studies / study.name) for study in COURSE}
    lost = as_json(altered(contexts["finetune"].findings, all_alike("diverged")))
    results["finetune"] = replace(results["finetune"], findings=lost)
    assert course_answer(results, ENGLISH).headline == "A network diverged, so there is no answer."
    del results["finetune"]
    assert "told by study 5, which has no result here" in course_answer(results, ENGLISH).headline


def test_an_effect_of_nothing_is_written_without_a_sign(contexts):
    """Where two arms do the same, no sentence has a direction."""
    for name in COMPARING:
        context = with_(
            contexts[name], Effect, lambda e: replace(e, mean=0.0, low=-0.04, high=0.04) if e.low < 0 else e
        )
        context = with_(
            context,
            ContrastResult,
            lambda c: replace(c, accuracy=replace(c.accuracy, mean=0.0, low=-0.04, high=0.04), verdict="no difference"),
        )
        text = " ".join(line for line in said(context, name) if "points" in line and "differences range" not in line)
        assert not re.search(r"[+−]\d", text), name


@pytest.mark.parametrize("wide", [0.02, 0.3, 1.0, 3.0, 20.0])
def test_what_more_would_take_is_more_than_there_is(contexts, wide):
    """Of a study that is imprecise: folds, seeds and images that it asks for exceed what it has, or it asks for nothing."""
    context = contexts["gain"]
    context = with_(
        context,
        Effect,
        lambda e: replace(
            e, seeds=3, decidable=True, parts=(0.4 * wide, 0.3 * wide, 0.1 * wide), runs=0.1 * wide, folds=3
        ),
    )
    text = _precision(context, context.findings.comparison.answer)
    asked = {
        unit: float(number)
        for number, unit in re.findall(r"([\d.]+) (folds|seeds|times)", text.partition("studies.")[2])
    }
    least = {"folds": 3, "seeds": 3, "times": 1}
    assert all(number > least[unit] for unit, number in asked.items()), text
    assert asked or "in four of five studies" in text


@pytest.mark.parametrize("code", ["en", "ru"])
@pytest.mark.parametrize(("low", "high"), [(3.4, 6.4), (-6.4, -3.4), (-0.4, 9.8), (-9.8, 0.4)])
def test_what_a_correction_left_open_says_so(contexts, code, low, high):
    """An interval of one line alone can be clear of zero where all lines together show nothing: that sentence tells the corrected p."""

    def open_(record, name):
        found = replace(getattr(record, name), mean=(low + high) / 2, low=low, high=high)
        return replace(record, **{name: found}, p=0.061, verdict="imprecise")

    context = with_(contexts["stacked"], ContrastResult, lambda c: open_(c, "accuracy"))
    context = with_(context, PairErrors, lambda line: open_(line, "effect"))
    context = replace(context, language=Language(code))
    word, why = {
        "en": ("too imprecise", " (p\u00a00.061 when corrected)"),
        "ru": ("слишком неточно", " (p\u00a00,061 с поправкой)"),
    }[code]
    text = " ".join(said(context, "stacked"))
    judged = text.count(f"), {word}")
    assert judged > 5
    assert text.count(f"), {word}{why}") == (judged if low * high > 0 else 0)
