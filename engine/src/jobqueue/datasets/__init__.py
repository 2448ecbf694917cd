"""Datasets: values that a periodic job saves in versions for other processes to read.

A version is stored whole or not at all. Its bytes may come from a Redis cache, and are used only if their digest is the one in
the ledger.
"""

from jobqueue.datasets.dataset import Dataset, DatasetInfo, EmptyDataset, NotReady, VersionNotFound

__all__ = ["Dataset", "DatasetInfo", "EmptyDataset", "NotReady", "VersionNotFound"]
