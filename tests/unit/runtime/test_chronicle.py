"""What the host says of itself, for its log."""

from __future__ import annotations

import pytest

from supervisor_tree.core.actions import Report, ReportContext
from supervisor_tree.runtime.chronicle import Chronicle


@pytest.mark.parametrize(
    ("context", "reason", "said"),
    [
        ("child_terminated", ("status", 1), "robot has ended: exit code 1"),
        ("start_error", ("init", "no key"), "robot has failed to start: init: no key"),
        ("shutdown_error", "killed", "robot was to stop and has ended otherwise: killed"),
        (
            "shutdown",
            "reached_max_restart_intensity",
            "robot was restarted too often, so this supervisor ends: reached_max_restart_intensity",
        ),
    ],
)
def test_a_report_of_a_supervisor_is_a_line_in_words(context, reason, said):
    lines: list[str] = []
    chronicle = Chronicle(lambda: 0.0, terminal=False)
    chronicle.report(Report("/", 1, ReportContext(context), "robot", reason))
    chronicle.write_to(lines.append)
    (line,) = lines
    assert line.endswith(f"supervisor /: {said}")
