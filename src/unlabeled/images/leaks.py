"""Images that stand in two splits: found by SHA-256 of their pixels before shrinking. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unlabeled.console.plain import printable
from unlabeled.images import Leaks

Digests: TypeAlias = NDArray[np.uint8]
Policy: TypeAlias = Literal["drop", "keep"]


def find_leaks(
    labeled: Digests, unlabeled: Digests, test: Digests, *, policy: Policy
) -> tuple[Leaks, NDArray[np.intp], NDArray[np.intp]]:
    """Compare the splits by their digests, each uint8 (n, 32).

    Returns
    -------
    leaks
        The counts, which do not depend on the policy.
    labeled, unlabeled
        The rows that stay: under "drop" no labeled image stands in test, and no unlabeled one in test or among the
        labeled; under "keep" all.
    """
    labeled_keys, unlabeled_keys, test_keys = (view_as_keys(digests) for digests in (labeled, unlabeled, test))
    labeled_in_test = np.isin(labeled_keys, test_keys)
    unlabeled_in_test = np.isin(unlabeled_keys, test_keys)
    unlabeled_in_labeled = np.isin(unlabeled_keys, labeled_keys)
    leaks = Leaks(policy, *(int(found.sum()) for found in (unlabeled_in_test, unlabeled_in_labeled, labeled_in_test)))
    if policy == "keep":
        return leaks, np.arange(len(labeled)), np.arange(len(unlabeled))
    return leaks, np.flatnonzero(~labeled_in_test), np.flatnonzero(~(unlabeled_in_test | unlabeled_in_labeled))


def near_policy(leaks: Policy, near: Policy) -> Policy:
    """Return what becomes of near-copies: who keeps exact copies keeps near ones too."""
    return "keep" if leaks == "keep" else near


def view_as_keys(digests: Digests) -> NDArray[Any]:
    """See digests, uint8 (n, 32), as values that can be sorted, (n,)."""
    return np.ascontiguousarray(digests).view("S32").reshape(-1) if len(digests) else np.empty(0, "S32")


def find_repeated(digests: Digests, labels: NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """Say how many labeled images repeat another one, and how many of them are of another class there."""
    _, which, counts = np.unique(digests, axis=0, return_inverse=True, return_counts=True)
    notes = []
    if copies := len(digests) - len(counts):
        notes.append(f"{copies:,} labeled images repeat another labeled image; one may train and the other validate.")
    pairs = np.unique(np.stack([which.ravel(), labels]), axis=1)
    picture, of = np.unique(pairs[0], return_counts=True)
    if (of > 1).any():
        first = [names[label] for label in pairs[1][pairs[0] == picture[of > 1][0]][:2]]
        notes.append(
            f"{int((of > 1).sum()):,} labeled pictures stand in more than one class, one of them in {printable(first[0])} and in "
            f"{printable(first[1])}: at most one of the labels is right, so remove the others."
        )
    return notes
