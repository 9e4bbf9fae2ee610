"""What a host ends with when its tree has ended."""

from __future__ import annotations

import pytest

from supervisor_tree.core.actions import TreeEnded, Why
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitKind, ExitReason

STATUS_3 = ExitReason(kind=ExitKind.ABNORMAL, code=3)


@pytest.mark.parametrize(
    ("why", "cause_exit", "code"),
    [
        (Why.STOPPED, None, 0),
        (Why.KILLED, None, 0),
        (Why.INTENSITY, STATUS_3, 70),
        (Why.SIGNIFICANT, STATUS_3, 3),
        (Why.SIGNIFICANT, ExitReason(kind=ExitKind.NORMAL, code=0), 0),
        (Why.SIGNIFICANT, ExitReason(kind=ExitKind.SHUTDOWN), 0),
        (Why.SIGNIFICANT, KILLED, 137),
        (Why.SIGNIFICANT, None, 1),
        (Why.BOOT, None, 1),
    ],
)
def test_the_exit_code_says_what_brought_the_tree_down(
    why: Why, cause_exit: ExitReason | None, code: int
) -> None:
    assert TreeEnded("/", SHUTDOWN, "/a", why, cause_exit).exit_code == code
