"""Values to bytes and back, by media type.

Nothing here is pickled, so reading a result never runs code. A value that cannot be kept is refused, with its type and the
remedy. This package knows nothing of jobs.
"""

from jobqueue.codec.values import ResultNotEncodable, ResultTooLarge, decode, encode

__all__ = ["ResultNotEncodable", "ResultTooLarge", "decode", "encode"]
