from __future__ import annotations

import pytest

from supervisor_tree.notify import Notifier, _one_line, _socket_address


def test_without_a_socket_every_notice_is_lost_in_silence() -> None:
    notifier = Notifier(None)
    assert not any(
        [
            notifier.ready(),
            notifier.status("x"),
            notifier.stopping(),
            notifier.extend_timeout(1.5),
            notifier.failed("x"),
            notifier.ignored("x"),
        ]
    )
    notifier.close()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("/run/x/notify.sock", "/run/x/notify.sock"),
        ("@host", "\0host"),
        ("", None),
        (None, None),
        ("vsock:2:1", None),  # systemd's other family, for virtual machines
    ],
)
def test_addresses_are_read_as_systemd_writes_them(name: str | None, address: str | None) -> None:
    assert _socket_address(name) == address


def test_a_value_cannot_smuggle_in_another_field() -> None:
    assert _one_line("fine\nREADY=1\r\nMAINPID=1") == "fine READY=1 MAINPID=1"
