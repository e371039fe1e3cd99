"""The connection of a client, as far as a response that lasts has to know of it."""

from collections.abc import Callable


class Connection:
    """A connection, with what is to be called once it is lost. All its requests share it.

    To wait for the server's message that says so takes a task for each stream. It also comes too late for
    a stream behind which the client has sent another request.
    """

    __slots__ = ("_callbacks", "_is_lost")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []
        self._is_lost = False

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the connection is lost, or at once if it is."""
        if self._is_lost:
            callback()
        else:
            self._callbacks.append(callback)

    def forget(self, callback: Callable[[], None]) -> None:
        """Do not call ``callback`` any more."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def lose(self) -> None:
        """Note that the connection is lost."""
        self._is_lost = True
        while self._callbacks:
            self._callbacks.pop()()
