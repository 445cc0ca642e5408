"""``python -m unlabeled`` is the command ``unlabeled``."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; to interrupt it while it is being loaded, or when all is said, is no error either."""
    try:
        from unlabeled.cli import main as run

        run()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        # Python takes a moment to leave, and would call an interruption then a failure.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
