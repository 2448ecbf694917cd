"""A task to a signed message and back.

Nothing is unpickled whose signature does not verify. The names of tasks and the conversion of Huey's times are here too.
"""

from jobqueue.messages.messages import Messages
from jobqueue.messages.signing import KeyRing

__all__ = ["KeyRing", "Messages"]
