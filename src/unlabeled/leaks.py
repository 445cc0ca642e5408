"""Images that stand in two splits: found by SHA-256 of their pixels before shrinking. Knows nothing of torch."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

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
    labeled_keys, unlabeled_keys, test_keys = (_keys(digests) for digests in (labeled, unlabeled, test))
    labeled_in_test = np.isin(labeled_keys, test_keys)
    unlabeled_in_test = np.isin(unlabeled_keys, test_keys)
    unlabeled_in_labeled = np.isin(unlabeled_keys, labeled_keys)
    leaks = Leaks(policy, *(int(found.sum()) for found in (unlabeled_in_test, unlabeled_in_labeled, labeled_in_test)))
    if policy == "keep":
        return leaks, np.arange(len(labeled)), np.arange(len(unlabeled))
    return leaks, np.flatnonzero(~labeled_in_test), np.flatnonzero(~(unlabeled_in_test | unlabeled_in_labeled))


def _keys(digests: Digests) -> NDArray[Any]:
    """See each digest as one value that can be sorted."""
    return np.ascontiguousarray(digests).view("S32").reshape(-1) if len(digests) else np.empty(0, "S32")
