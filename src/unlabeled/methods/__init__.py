"""All ways of using unlabeled images that the main job compares; help, plan, comparisons, tables, figures and words follow from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points

from unlabeled.config import PLUGINS, add_methods_section, remove_methods_section
from unlabeled.errors import UserError
from unlabeled.methods.denoised import DENOISED_CODES, DENOISED_CODES_TWIN, DENOISED_NETWORK, DENOISED_NETWORK_TWIN
from unlabeled.methods.features import MODELS
from unlabeled.methods.finetuned import FINETUNED
from unlabeled.methods.finetuned import TWIN as FINETUNED_TWIN
from unlabeled.methods.frozen_codes import FROZEN_CODES, FROZEN_TWIN
from unlabeled.methods.joint import JOINT, LABELED_ONLY
from unlabeled.methods.method import Colour as Colour
from unlabeled.methods.method import Message as Message
from unlabeled.methods.method import Method as Method
from unlabeled.methods.networks import NetworkMethod
from unlabeled.methods.pca import PCA, PCA_TWIN
from unlabeled.methods.pixels import PIXELS
from unlabeled.methods.random_codes import RANDOM_CODES
from unlabeled.methods.scratch import SCALED, SCRATCH
from unlabeled.methods.strong import STRONG_METHODS, StrongMethod
from unlabeled.records import ArmKey, Contrast

METHODS: list[Method] = [
    PIXELS, RANDOM_CODES, PCA, PCA_TWIN, FROZEN_CODES, FROZEN_TWIN, DENOISED_CODES, DENOISED_CODES_TWIN,
    SCRATCH, SCALED, FINETUNED, FINETUNED_TWIN, DENOISED_NETWORK, DENOISED_NETWORK_TWIN, LABELED_ONLY, JOINT,
    *STRONG_METHODS,
]  # fmt: skip


# In lines of progress, which are English.
_PARTS = {
    "labels": "{} of the labels",
    "images": "{} unlabeled images",
    "grown": "{} labels added",
    "final": "{}",
}


def register(method: Method) -> None:
    """Add a method: from then on it is part of the main job, its options of the configuration.

    Raises
    ------
    ValueError
        If its name or one of its arms is another method's.
    """
    for other in METHODS:
        if other.name == method.name or set(other.arms) & set(method.arms):
            raise ValueError(f"method {method.name!r} has the name or an arm of method {other.name!r}; give it another")
    METHODS.append(method)
    if method.options is not None:
        add_methods_section(method.name, method.options)


def unregister(method: Method) -> None:
    """Take a method out again."""
    METHODS.remove(method)
    if method.options is not None:
        remove_methods_section(method.name)


def all_arms() -> tuple[ArmKey, ...]:
    """Return the arms of all methods."""
    return tuple(arm for method in METHODS for arm in method.arms)


def all_contrasts() -> tuple[Contrast, ...]:
    """Return the comparisons of all methods."""
    return tuple(contrast for method in METHODS for contrast in method.contrasts)


def method_of(arm: ArmKey) -> Method | None:
    """Return the method that an arm belongs to; a result can have arms of one that is not registered here."""
    return next((method for method in METHODS if arm in method.arms), None)


def is_of(method: Method, classifier: str) -> bool:
    """Tell whether a method is none of the network that ``--classifier`` leaves out."""
    other = {"strong": NetworkMethod, "small": StrongMethod}.get(classifier, ())
    return not isinstance(method, other)


def arm_name(
    arm: ArmKey,
    *,
    say: Callable[[Message], str] = lambda message: message.english,
    model: Callable[[str], str] = lambda name: "logistic regression" if name == "logistic" else name,
) -> str:
    """Say what an arm is: in English, as lines of progress do, or by a language's words for messages and models."""
    method = method_of(arm)
    if method is None and arm.factor in _PARTS:
        whole = arm_name(replace(arm, factor="", value=""), say=say, model=model)
        return f"{whole}, {_PARTS[arm.factor].format(arm.value)}"
    if method is None:
        return str(arm)
    return f"{say(method.title)} → {model(arm.model)}" if arm.model in MODELS else say(method.title)


def _load_plugins() -> None:
    """Register what installed packages bring under the entry point ``unlabeled.methods``."""
    for entry in entry_points(group=PLUGINS):
        try:
            register(entry.load())
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"method {entry.name} of an installed package can't be loaded ({error}); mend that package, or remove it"
            ) from error


_load_plugins()
