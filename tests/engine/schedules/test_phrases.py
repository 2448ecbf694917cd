"""Phrases as people say them, compared with a search through the minutes of ten years, and phrases that mean nothing."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from jobqueue import NotUnderstood, every
from tests.engine.schedules.phrase_table import AFTER, BY_CLOCK, PHRASES, table

DOCS = Path(__file__).parents[3] / "docs" / "schedules.md"
FIRST, LAST = datetime(2011, 12, 1, tzinfo=UTC), datetime(2021, 12, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def test_table_of_phrases_in_the_docs_agrees_with_schedules() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("phrase", PHRASES)
def test_first_fires_of_each_phrase_are_those_that_a_person_reads(phrase: str) -> None:
    """The brute-force search below takes longer, so it is not among the quick tests."""
    on, at = PHRASES[phrase]
    days = [AFTER.date() + n * DAY for n in range(800)]
    read = [datetime.combine(day, moment, UTC) for day in days if on(day) for moment in at]
    expected = [due for due in read if due > AFTER][:5]
    following = every(f"every {phrase}" if phrase[0].isalpha() else phrase).following(AFTER)
    assert [next(following) for _ in expected] == expected


class Clock:
    """The minutes of ten years, and the local time that the clocks of a time zone show in each."""

    def __init__(self, zone: str) -> None:
        tz = ZoneInfo(zone)
        quarters = [FIRST + n * 15 * MINUTE for n in range((LAST - FIRST) // (15 * MINUTE))]
        offsets = [int((moment.astimezone(tz).utcoffset() or timedelta()).total_seconds()) // 60 for moment in quarters]
        self.shown = np.arange(15 * len(quarters)) + np.repeat(offsets, 15)  # in minutes since FIRST
        self.latest = np.maximum.accumulate(self.shown)

    def minutes(self, local: np.ndarray, by_clock: bool) -> np.ndarray:
        """Return the minutes that show these local times: all of them, or the first that shows each, or a later one."""
        if by_clock:
            return np.flatnonzero(np.isin(self.shown, local))
        found = np.searchsorted(self.latest, local[(local >= self.latest[0])])
        return np.unique(found[found < len(self.latest)])


@pytest.mark.long
@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Paris", "Australia/Lord_Howe", "America/Havana"])
def test_fires_of_ten_years_are_those_that_a_search_through_all_minutes_finds(zone: str) -> None:
    clock = Clock(zone)
    days = [FIRST.date() + n * DAY for n in range(-1, (LAST - FIRST) // DAY + 1)]
    for phrase, (on, at) in PHRASES.items():
        local = np.array(
            [
                (day - FIRST.date()).days * 1440 + moment.hour * 60 + moment.minute
                for day in days
                if on(day)
                for moment in at
            ]
        )
        expected = clock.minutes(local, phrase in BY_CLOCK)
        schedule = every(phrase, tz=zone)
        if len(expected) > 12_000:  # each fire is computed anew: follow the first and last year, and sample the others
            dice = np.random.default_rng(7)
            around = dice.integers(0, len(clock.shown), 300)
            expected_next = np.searchsorted(expected, around, side="right")
            for minute, place in zip(around, expected_next, strict=True):
                if place < len(expected):
                    due = schedule.next_after(FIRST + int(minute) * MINUTE)
                    assert due is not None
                    assert due.astimezone(UTC) == FIRST + int(expected[place]) * MINUTE, phrase
        else:
            found = [(due.astimezone(UTC) - FIRST) // MINUTE for due in schedule.between(FIRST - MINUTE, LAST - MINUTE)]
            assert found == expected.tolist(), phrase


def test_business_days_leave_out_the_holidays_of_a_country_a_region_or_a_market() -> None:
    def days(phrase: str, holidays: str, month: int) -> list[date]:
        first = datetime(2026, month, 1, tzinfo=UTC)
        return [due.date() for due in every(phrase, holidays=holidays).between(first - MINUTE, first + 27 * DAY)]

    july, april, january = date(2026, 7, 1), date(2026, 4, 1), date(2026, 1, 1)
    assert days("business day at 9", "US", 7)[:3] == [july, july + DAY, july + 5 * DAY]  # 3 July: the 4th is a Saturday
    assert days("business day at 9", "NYSE", 4)[:3] == [april, april + DAY, april + 5 * DAY]  # 3 April is Good Friday
    assert days("first business day of the month", "DE-BY", 1) == [january + DAY]
    assert days("2nd business day of the month", "DE-BY", 1) == [january + 4 * DAY]
    assert days("4th business day of the month", "DE-BY", 1) == [january + 7 * DAY]  # 6 January is Epiphany in Bavaria
    assert days("4th business day of the month", "DE-BE", 1) == [january + 6 * DAY]
    assert days("friday except holidays", "US", 7) == [july + n * DAY for n in (9, 16, 23)]
    assert str(every("business day at 9", holidays="NYSE")) == "every business day (NYSE) at 09:00 (UTC)"


def test_start_says_which_of_two_weeks_are_meant() -> None:
    following = every("other monday at 9", start="2026-12-03").following(AFTER)  # in the week of 30 November
    assert [f"{next(following):%Y-%m-%d}" for _ in range(2)] == ["2026-11-30", "2026-12-14"]
    following = every("other monday at 9", start=date(2026, 12, 7)).following(AFTER)
    assert f"{next(following):%Y-%m-%d}" == "2026-12-07"
    assert str(every("2 weeks on friday", start="2026-12-07")) == (
        "every 2 weeks on Friday at 00:00, counted from 2026-12-07 (UTC)"
    )


# Nothing of this is a schedule, or it is more than one.
WORDS = """
soon|later|now|never|always|sometimes|often|rarely|whenever|asap|tomorrow|yesterday|today|tonight|eventually|
banana|42|9|0|-1|1.5|3.14|1e3|infinity|nan|none|null|true|@|@never|@reboot|@secondly|*|* *|* * *|* * * *|?|!|:|::|:15|
every|each|on|at|the|every every|every the|and|and and|or|except|between|from|to|of|of the month|at at|at 9 at 10|
blue moon|once in a blue moon|full moon|new moon|high tide|low tide|when ready|if needed|when pigs fly|on demand|
monday or tuesday|monday tuesday|monday monday monday|not monday|no monday|monday but not friday|monday at|monday at 9 at 10|
monday at nine|monday at 9 o|monday 9|monday at 9 or 10|monday at 9 and|monday and at 9|and monday|monday and|monday,|,monday|
mon-|-fri|mon-fri-sun|mon to fri to sun|moonday|someday|doomsday|thirsday at|day day|day of|day of days|day at day|
day at hour|day at monday|day at|day at noonish|day at lunch time|day after tomorrow|day before yesterday|day except|day except noon|
day except day|day at 9 except|day and night and day|weekday of|weekday of the month|weekdays or weekends|
weekend of the month|last weekend of the month|next monday|this monday|previous friday|coming friday|past friday|
first|second monday|third|last|last of the month|last of|first of|first the month|zeroth monday of the month|
fifth monday of the month|6th monday of the month|99th friday of the month|-1st of the month|1.5th of the month|
1st|15th|15th at 9|1st monday|month of sundays|month on monday|month on|month on the|month at the 1st|month 1|month on 1|
monthly on friday|of january|january|december|december at 9|december 24 25|december and 24|24|24 of|24 decembre of|
24th of the december month|smarch 13|octember 5|13 smarch|year of the dragon|year on friday|year on the moon|quarter of a moon|
second monday of the quarter|2nd of the quarter|last day of the week|first day of the week|last day of the day|
first hour of the day|last minute of the hour|leap year|leap day|leap second|century|decade|millennium|aeon|
fortnight monday friday of the month|light years|dog years|3 moons|3 suns|3 apples|minutes minutes|15|15 minutes 30|
15 minutes ago|in 15 minutes|after 15 minutes|15 minutes before|15 minutes after sunset|15 minutes and 30 seconds|
hour and a half|hour or two|a few hours|several minutes|many days|some weeks|couple of hours|-5 minutes|+5 minutes|minus five minutes|
5 minutes at 9|5 minutes on the moon|5 minutes between 9|5 minutes between|5 minutes between 9 and|5 minutes from 9|
5 seconds between 9 and 10|day between 9 and 17|monday between 9 and 17|weekday between 9 and 17|hour between noonish and five|
between 9 and 17|9 to 5|9-17|9:00-17:00|9.30|9h30|930|09|9 am pm|am|pm|9 xm|9::30|9:3|9:300|:9|noon noon|midnight noon|
hour at 15|hour at :5|hour at 9:15|6 hours at :15|hour at :15 on monday|minute at :15|15 past|quarter past|half past nine|
sunset sunrise|sunset and sunrise|sunday at sunset and sunrise|day at sunset + soon|day at sunset 30|sunset plus 30|day at sunset * 2|
moonrise|moonset|solstice|equinox|easter|christmas|thanksgiving|new year|ramadan|holiday|holidays|birthday|
business|business day of|business month|last business|business day of the moon|business hours|working hours|office hours|
select 1|drop table schedules|every(day)|cron(0 9 * * *)|0 9 * * mon fri x y|R/PT1H|P1D|PT15M|FREQ=DAILY|2026-11-30|30/11/2026
"""
MEANINGLESS = [word for word in "".join(WORDS.splitlines()).split("|") if word]


def test_two_hundred_phrases_that_mean_nothing_are_refused() -> None:
    assert len(set(MEANINGLESS)) > 200
    understood = {}
    for phrase in MEANINGLESS:
        try:
            understood[phrase] = str(every(phrase))
        except NotUnderstood as refusal:
            _, has_hint, hint = str(refusal).partition("Did you mean '")
            if has_hint:  # a phrase that is understood
                every(hint.partition("'")[0], place="Montreal")
        except ValueError:
            pass
    assert understood == {}
