"""Suggestions for a phrase that is not understood: a phrase of the same meaning, or none."""

import difflib
import re
from collections.abc import Callable, Iterator

from jobqueue.schedules.vocabulary import CLOCK, MONTHS, NUMBERS, ORDINALS, UNITS, WEEKDAYS

LONGEST = 100  # characters of a phrase that is worth a suggestion
ALIKE = 0.82  # of 1, as difflib compares two words of one first letter
KNOWN = [
    *(word.lower() for word in (*WEEKDAYS, *MONTHS)),
    *(word for word in (*UNITS, *NUMBERS, *ORDINALS, *CLOCK) if len(word) > 3),
    *"weekday weekdays weekend week month quarter year business between except sunrise sunset every other last daily".split(),
    *"weekly monthly quarterly yearly hourly".split(),
]
SAME = {
    "am": "", "please": "", "once": "", "sharp": "", "o'clock": "", "oclock": "", "exactly": "", "run": "",
    "dusk": "at sunset", "dawn": "at sunrise", "sundown": "at sunset", "sunup": "at sunrise",
    "morning": "at 9:00", "mornings": "at 9:00", "afternoon": "at 15:00", "afternoons": "at 15:00",
    "evening": "at 18:00", "evenings": "at 18:00", "night": "at 22:00", "nights": "at 22:00", "nightly": "day at 22:00",
    "biweekly": "2 weeks", "bi-weekly": "2 weeks", "bimonthly": "2 months", "semiannually": "6 months",
    "workday": "business day", "workdays": "business day",
}  # fmt: skip
TIMES_A_DAY = {"once": 1, "twice": 2, "thrice": 3} | {f"{word} times": number for word, number in NUMBERS.items()}
SMALLER = {"day": ("hours", 24), "hour": ("minutes", 60), "minute": ("seconds", 60)}


def understood_variant(text: str, is_understood: Callable[[str], bool]) -> str | None:
    """Return the first variant of a phrase that is understood, or None."""
    if len(text) > LONGEST:
        return None
    return next((variant for variant in _variants(text) if is_understood(variant)), None)


def _variants(text: str) -> Iterator[str]:
    if (found := re.fullmatch(r"(\d{1,4}\.\d{1,2}) ?(day|hour|minute)s?", text)) is not None:
        unit, per = SMALLER[found[2]]
        if (number := float(found[1]) * per).is_integer():
            yield f"{int(number)} {unit}"
    if (found := re.fullmatch(r"(\d{1,3})m", text)) is not None:
        yield f"{found[1]} minutes"
    if (found := re.fullmatch(r"(?:(\d{1,2}) times|(\w+(?: times)?)) (?:a|per|each|every) day", text)) is not None:
        number = int(found[1]) if found[1] else TIMES_A_DAY.get(found[2], 0)
        if number == 1:
            yield "day"
        elif number and 24 * 60 % number == 0:
            minutes = 24 * 60 // number
            yield f"{minutes} minutes" if minutes % 60 else f"{minutes // 60} hours"
    words = [_repaired(word) for word in re.sub(r"(\d)\.(\d\d)\b", r"\1:\2", text).split()]
    if None in words:
        return
    repaired = re.sub(r"\bat at\b", "at", " ".join(word for word in words if word))
    yield repaired
    yield re.sub(r"(?<! at) (\d{1,2}:\d\d|\d{1,2}(?:am|pm)|noon|midnight)", r" at \1", repaired, count=1)


def _repaired(word: str) -> str | None:
    """Return a word as phrases write it, or None if nothing is like it."""
    bare = word.strip(",.!")
    if bare in SAME:
        return SAME[bare]
    if re.fullmatch(r"[\d:+-]+(am|pm|st|nd|rd|th|,)*", word) or len(bare) < 4 or bare in KNOWN:
        return word
    near = difflib.get_close_matches(bare, [known for known in KNOWN if known[0] == bare[0]], n=1, cutoff=ALIKE)
    return near[0] + word[len(bare) :] if near else None
