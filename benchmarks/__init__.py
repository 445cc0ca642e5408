"""How fast is it? Every case measures the package and its rivals in one run, by turns. ``python -m benchmarks``."""
