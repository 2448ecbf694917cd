"""Convert tasks to signed messages and back, and derive task names and times from Huey's objects.

A message is unpickled only after its signature was verified. A job's message never changes after the submit. It may name an error
handler that this process's code does not have.
"""

from jobqueue.messages.messages import Messages
from jobqueue.messages.signing import KeyRing

__all__ = ["KeyRing", "Messages"]
