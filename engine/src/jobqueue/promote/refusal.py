"""The exception with which promote refuses a notebook."""


class Refused(Exception):
    """A notebook that cannot be promoted. The message quotes the line, and says what to do. Nothing was written."""
