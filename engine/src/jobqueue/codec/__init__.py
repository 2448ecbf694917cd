"""Encode results, steps and datasets as bytes, and decode them again.

Nothing is pickled: decoding imports no module, and calls no class of the app. A value comes back with the type that it had, or
`encode` refuses it and names the type and the remedy. This package knows nothing about jobs.
"""

from jobqueue.codec.values import TREE, ResultNotEncodable, ResultTooLarge, decode, encode, register

__all__ = ["TREE", "ResultNotEncodable", "ResultTooLarge", "decode", "encode", "register"]
