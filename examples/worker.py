"""A worker that does one piece of work and ends: for a simple_one_for_one supervisor.

{strategy: simple_one_for_one, child: {agent: "examples.worker:Worker", restart: temporary}}
"""

from __future__ import annotations

import asyncio

from supervisor_tree import Agent, Context

__all__ = ["Worker"]

SLICE = 1_000  # numbers tried between two looks at the rest of the world


class Worker(Agent):
    """Counts the primes below `args["below"]` (default 10,000), then ends as `normal`."""

    def init(self, ctx: Context) -> None:
        self.below = int(ctx.args.get("below", 10_000))
        if self.below < 0:
            raise ValueError(f"below must not be negative, and is {self.below}")

    async def run(self, ctx: Context) -> None:
        """Work in slices, so that the loop stays free to be asked to stop."""
        primes: list[int] = []
        for start in range(2, self.below, SLICE):
            for number in range(start, min(start + SLICE, self.below)):
                if _is_prime(number, primes):
                    primes.append(number)
            ctx.notify(f"{start * 100 // self.below} %")
            await asyncio.sleep(0)
        ctx.log.info(f"{len(primes)} primes below {self.below}")


def _is_prime(number: int, smaller_primes: list[int]) -> bool:
    for prime in smaller_primes:
        if prime * prime > number:
            return True
        if number % prime == 0:
            return False
    return True
