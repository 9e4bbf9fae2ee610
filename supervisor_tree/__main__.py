"""`python -m supervisor_tree` is `supervisor-tree`."""

from __future__ import annotations

import sys

from supervisor_tree.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
