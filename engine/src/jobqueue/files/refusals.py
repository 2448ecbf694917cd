"""The reasons for which a file is refused. Each message is a sentence for the user who gave the file."""

from jobqueue.text import size as in_words


class FileRefused(Exception):
    """A file that cannot be taken or used. The message is for the user, and nothing of the file is left behind."""


class EmptyFile(FileRefused):
    """An upload of no bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is empty. Choose a file with content.")


class FileTooLarge(FileRefused):
    """A file of more than `max_file` bytes."""

    def __init__(self, name: str, limit: int, size: int | None = None) -> None:
        taken, most = in_words(size or 0), in_words(limit)
        if taken == most:
            taken, most = f"{size:,} bytes", f"{limit:,} bytes"
        takes = "is" if size is None else f"takes {taken}, which is"
        super().__init__(f"{name} {takes} more than the limit of {most}. Choose a smaller file.")


class FileMissing(FileRefused):
    """A file that does not exist, is not complete, was deleted because no job uses it, or belongs to another user."""

    def __init__(self, name: str = "This file") -> None:
        super().__init__(f"{name} is not stored here any more. Upload it again.")


class WrongOffset(FileRefused):
    """A piece that does not begin where the stored part of its file ends.

    :param received: bytes of the file that are stored. The next piece begins there.
    """

    def __init__(self, name: str, offset: int, received: int) -> None:
        super().__init__(f"{name} has {received:,} bytes here, so a piece at {offset:,} does not fit. Upload it again.")
        self.received = received
