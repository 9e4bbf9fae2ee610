"""The root's one loop: wait on descriptors and deadlines, call who is concerned.

Nothing sleeps and nothing polls.  A callback must not block; what it cannot finish now
it leaves for the next time its descriptor is readable.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Hashable

from supervisor_tree.runtime.clock import Clock
from supervisor_tree.runtime.timers import Timers

__all__ = ["Reactor"]


class Reactor:
    """Descriptors and timers of one process."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.timers = Timers()
        self.turns = 0  # of the loop, for whoever wonders what it does all day
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[Hashable, Callable[[], None]] = {}
        self._before_wait: list[Callable[[], None]] = []
        self._stopped = False

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `fd` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`; must be called before it is closed."""
        self._selector.unregister(fd)

    def before_wait(self, callback: Callable[[], None]) -> None:
        """Call `callback` once per turn, before waiting: for edge-triggered sources."""
        self._before_wait.append(callback)

    def call_at(self, key: Hashable, at: float, callback: Callable[[], None]) -> None:
        """Call `callback` at time `at`, unless `key` is set anew or cancelled before."""
        self._callbacks[key] = callback
        self.timers.set(key, at)

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `delay_s` seconds; see `call_at`."""
        self.call_at(key, self.clock.now() + delay_s, callback)

    def is_set(self, key: Hashable) -> bool:
        """Whether there is a timer `key` that has not come yet."""
        return key in self._callbacks

    def cancel(self, key: Hashable) -> None:
        """Forget the timer `key`."""
        self.timers.cancel(key)
        self._callbacks.pop(key, None)

    def stop(self) -> None:
        """End `run` after the current turn."""
        self._stopped = True

    def run(self) -> None:
        """Turn until `stop` is called."""
        while not self._stopped:
            self.turn()

    def turn(self, limit_s: float | None = None) -> None:
        """Wait once, for at most `limit_s` seconds, and call whoever is due."""
        self.turns += 1
        for callback in self._before_wait:
            callback()
        if self._stopped:
            return
        at = self.timers.next_at()
        timeout = None if at is None else max(0.0, at - self.clock.now())
        if limit_s is not None:
            timeout = limit_s if timeout is None else min(timeout, limit_s)
        for key, _ in self._selector.select(timeout):
            # A callback of this turn may have removed a later one's descriptor.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        for timer in self.timers.pop_due(self.clock.now()):
            callback_of_timer = self._callbacks.pop(timer, None)
            if callback_of_timer is not None:
                callback_of_timer()

    def close(self) -> None:
        """Let go of the selector's own descriptor."""
        self._selector.close()
