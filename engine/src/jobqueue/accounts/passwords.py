"""Which passwords are refused, as NIST SP 800-63B says for a password that is the only factor.

A password needs a length, and must be neither among the breached passwords that zxcvbn carries nor a variation of one. It needs
no digits or symbols, and never expires.
"""

import re
from collections.abc import Iterable

SHORTEST = 15  # characters
LONGEST = 1000
STRENGTH = 4  # of 4 on zxcvbn's scale: 10 billion guesses, which protects a stolen hash
RATED = 72  # characters that zxcvbn rates: its time grows with them

# Passphrases that guides to passwords print as examples. They are breached, but in no list of single words.
EXAMPLES = ("correct horse battery staple", "cleft cam synod lacy yr wok", "coffee train fish", "apple nemo biro")
SEPARATORS = ("", " ", "-", "_", ".")
WORD = re.compile(r"[^\W_]{3,}")  # in a name


class WeakPassword(ValueError):
    """The password is too short, too long or easy to guess. The message says which, and what to do."""


def check(password: str, names: Iterable[str]) -> None:
    """Raise WeakPassword for a password that is refused.

    :param names: the user's name and those of the app. Their words do not count as part of the password.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(
            f"A password needs {SHORTEST} to {LONGEST} characters; this one has {len(password)}. Try several words."
        )
    from zxcvbn import zxcvbn

    words = {word for name in names for word in WORD.findall(name)}
    longest_first = "|".join(sorted(words, key=len, reverse=True))  # one may contain another
    rest = re.sub(longest_first, "", password, flags=re.IGNORECASE) or " "  # zxcvbn fails on an empty text
    examples = (separator.join(text.split()) for text in EXAMPLES for separator in SEPARATORS)
    found = zxcvbn(rest[:RATED], [*words, *examples])
    if found["score"] < STRENGTH:
        why = found["feedback"]["warning"] or "This password is easy to guess."
        if rest != password:
            why += " Names of users and apps do not count."
        raise WeakPassword(f"{why} Try several words that do not belong together.")
