"""``python -m unlabeled`` is the command ``unlabeled``."""

from unlabeled.cli import main

main()
