"""What does the classifier cost on top of decoding? Files are decoded alone, and then classified, by turns.

``python -m benchmarks.predicting RUN FOLDER [--files 50000] [--rounds 3]``: files of the folder, again from the first where it has fewer.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from itertools import cycle, islice

from unlabeled.finished.classifier import load_classifier
from unlabeled.finished.predicting import find_images
from unlabeled.images.decoding import decode_all


def main() -> None:
    """Print seconds, their ratio and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    classifier = load_classifier(asked.run, device="cpu")
    paths = list(islice(cycle(find_images([asked.folder])), asked.files))
    decoding, classifying = [], []
    for _ in range(asked.rounds):
        start = time.perf_counter()
        for _, batch in decode_all([paths], classifier.wanted):
            assert len(batch.pixels)
        decoding.append(time.perf_counter() - start)
        start = time.perf_counter()
        for found in classifier.stream(paths):
            assert len(found.probabilities)
        classifying.append(time.perf_counter() - start)
    ratio = statistics.median(two / one for one, two in zip(decoding, classifying, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(
        f"{len(paths):,} files: decoding {statistics.median(decoding):.1f} s, classifying {statistics.median(classifying):.1f} s, "
        f"{ratio:.2f} times; peak {peak:,.0f} MB beside the decoding processes"
    )


if __name__ == "__main__":
    main()
