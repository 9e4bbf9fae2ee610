"""Runs one target without an end, guided by what each input reaches: `python -m tests.fuzz.codec`.

A target is a module with `SEEDS`, inputs that are good, and `one_input(data)`, which raises if
a promise is broken.  Words on the command line are libFuzzer's (`-max_total_time=60`, a folder
for what is found).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["fuzz"]


def fuzz(one_input: Callable[[bytes], object], seeds: Sequence[bytes]) -> None:
    """Does not return; the process ends as libFuzzer ends it."""
    try:
        import atheris  # noqa: PLC0415 - wanted here alone, and not everywhere to be had
    except ImportError:
        sys.exit("this needs atheris (pip install atheris); pytest tests/fuzz does without")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()
