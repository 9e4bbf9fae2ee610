"""What a spawner is told at its start; apart, so that the root need not load the spawner itself."""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgpack

__all__ = ["Config"]


@dataclass(slots=True, kw_only=True)
class Config:
    """What a spawner is started with.  `modules`: name, and whether it must not be left out."""

    instance: str
    modules: list[tuple[str, bool]]
    sys_path: list[str]
    left_out: list[tuple[str, str]]
    lease_read: int
    lease_write: int

    @classmethod
    def load(cls, fd: int) -> Config:
        """Read what `save` wrote."""
        return cls(**msgpack.unpackb(os.pread(fd, os.fstat(fd).st_size, 0)))

    def save(self, fd: int) -> None:
        """Write to a memory file, from where a re-executed spawner can read it again."""
        data = msgpack.packb({name: getattr(self, name) for name in self.__slots__})
        os.ftruncate(fd, 0)
        os.pwrite(fd, data, 0)
