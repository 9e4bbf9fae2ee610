"""A plain function as an agent, and one that fails now and then.

{id: robot, agent: "examples.robot:robot", type: robot, args: {crash_probability: 0.1}}
"""

from __future__ import annotations

import random

from supervisor_tree import Context

__all__ = ["Breakdown", "robot"]


class Breakdown(Exception):
    """What the robot fails with."""


def robot(ctx: Context) -> None:
    """Work step by step until asked to stop.

    `args`: `step_s`, seconds per step (default 1); `crash_probability` of each step
    (default 0); `crash_at`, the number of the step that fails for certain (default none).
    """
    step_s = float(ctx.args.get("step_s", 1.0))
    probability = float(ctx.args.get("crash_probability", 0.0))
    crash_at = ctx.args.get("crash_at")
    step = 0
    while not ctx.stopping.wait(step_s):
        step += 1
        ctx.notify(f"step {step}")
        if step == crash_at or random.random() < probability:
            raise Breakdown(f"a gear broke in step {step}")
    ctx.log.info(f"parked after {step} steps")
