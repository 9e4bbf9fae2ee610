"""Every difference from OTP that was ever found, with OTP's trace: needs no Erlang."""

from __future__ import annotations

from tests.oracle.differential import FOUND, differences
from tests.oracle.otp_live import read_lines


def test_a_difference_once_found_and_mended_stays_mended() -> None:
    differ = {
        path.name: lines
        for path in sorted(FOUND.glob("*.jsonl"))
        for number, pair in enumerate(read_lines(path), start=1)
        if (lines := differences(pair["scenario"], pair["trace"], number))
    }
    assert differ == {}
