"""Keep the files that jobs take and return, in pieces of bounded size in the ledger's database.

A job's message holds a `File`, which is a name with an id, and never the content. A file is kept as long as a job that names it.
No more than a few pieces of a file are in memory at once.

The modules build on each other in this order: `refusals`, `pieces` → `file`, `stored`, `contents` → `files`.
"""

from jobqueue.files.file import File
from jobqueue.files.files import MAX_FILE, Files
from jobqueue.files.refusals import EmptyFile, FileMissing, FileRefused, FileTooLarge, WrongOffset
from jobqueue.files.stored import StoredFiles

__all__ = [
    "MAX_FILE",
    "EmptyFile",
    "File",
    "FileMissing",
    "FileRefused",
    "FileTooLarge",
    "Files",
    "StoredFiles",
    "WrongOffset",
]
