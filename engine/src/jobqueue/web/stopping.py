"""The flag of a stop: the server sets it at SIGTERM, and `/readyz` reads it."""


class Stopping:
    """A flag that a signal's handler may set at any moment.

    An event has a lock. If a second SIGTERM interrupts the handler of the first while it holds that lock, the process waits for itself.
    """

    is_set = False


stopping = Stopping()
