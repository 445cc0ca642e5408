"""The studies: the main job, and those of the course, each a declaration. Knows nothing of torch."""

from __future__ import annotations

from typing import Any

from unlabeled.studies.autoencoder import AUTOENCODER
from unlabeled.studies.baselines import BASELINES
from unlabeled.studies.convolved import CONVOLVED
from unlabeled.studies.features import FEATURES
from unlabeled.studies.finetune import FINETUNE
from unlabeled.studies.gain import GAIN as GAIN
from unlabeled.studies.joint import JOINTLY
from unlabeled.studies.network import NETWORK
from unlabeled.studies.openset import OPEN_SET
from unlabeled.studies.sparse import SPARSE
from unlabeled.studies.stacked import STACKED
from unlabeled.studies.study import Study

# In the course's order.
COURSE: tuple[Study[Any], ...] = (
    BASELINES,
    NETWORK,
    AUTOENCODER,
    FEATURES,
    FINETUNE,
    STACKED,
    SPARSE,
    CONVOLVED,
    JOINTLY,
)
STUDIES: tuple[Study[Any], ...] = (*COURSE, OPEN_SET)
