"""Which version is installed; apart, because the look-up costs more than most verbs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["installed_version"]


def installed_version() -> str:
    """The version of the distribution, or "unknown" when run from bare sources."""
    try:
        return version("supervisor_tree")
    except PackageNotFoundError:
        return "unknown"
