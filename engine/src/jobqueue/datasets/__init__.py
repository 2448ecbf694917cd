"""Values that a periodic job saves for other processes to read.

A version is there whole or not at all. Its bytes may come from a Redis cache, whose digest the ledger knows.
"""

from jobqueue.datasets.dataset import Dataset, DatasetInfo, EmptyDataset, NotReady, VersionNotFound

__all__ = ["Dataset", "DatasetInfo", "EmptyDataset", "NotReady", "VersionNotFound"]
