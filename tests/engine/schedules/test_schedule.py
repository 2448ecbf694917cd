"""Due moments of schedules, compared with cronsim, with astral, and with a search through every minute."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from astral import Observer
from astral.sun import elevation, sunrise, sunset
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue import DurableHuey, NotUnderstood, Schedule, cron, every
from jobqueue.schedules.phrases import FORMS
from jobqueue.schedules.recurrence import Minutes
from tests.engine.schedules import sunsets

DOCS = Path(__file__).parents[3] / "docs" / "schedules.md"

# Clocks that change by half an hour, by a whole day, at midnight, twice around Ramadan, or never; and one with odd minutes.
ZONES = [
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Paris",
    "Pacific/Apia",
    "Pacific/Chatham",
]
FIRST, LAST = datetime(2011, 12, 1, tzinfo=UTC), datetime(2021, 12, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def of_days(*times: str, days: Callable[[date], bool] = lambda day: True) -> Callable[[datetime], bool]:
    """Return whether a local time is one of the given times, on one of the given days."""
    wanted = {time.fromisoformat(text) for text in times}
    return lambda local: local.time() in wanted and days(local.date())


def last_friday(day: date) -> bool:
    return day.weekday() == 4 and (day + 7 * DAY).month != day.month


# Due at these local times: once on a day on which the clock changes, and at the end of a gap.
OF_DAY: dict[str, Callable[[datetime], bool]] = {
    "day": of_days("00:00"),
    "day at 00:30": of_days("00:30"),
    "day at 02:00 and 02:30": of_days("02:00", "02:30"),
    "day at 01:45": of_days("01:45"),
    "weekend at 2:15": of_days("02:15", days=lambda day: day.weekday() > 4),
    "weekday at midnight": of_days("00:00", days=lambda day: day.weekday() < 5),
    "sunday and thursday at 03:00": of_days("03:00", days=lambda day: day.weekday() in (3, 6)),
    "month on the 29th and 31st at 02:30": of_days("02:30", days=lambda day: day.day in (29, 31)),
    "month on the last day at 23:59": of_days("23:59", days=lambda day: (day + DAY).day == 1),
    "last friday of the month at 00:15": of_days("00:15", days=last_friday),
    "2 hours": lambda local: local.minute == 0 and local.hour % 2 == 0,
    "45 minutes": lambda local: (local.hour * 60 + local.minute) % 45 == 0,
    "90 minutes": lambda local: (local.hour * 60 + local.minute) % 90 == 0,
}
# Due whenever the local clock shows such a minute, also during clock changes.
BY_CLOCK: dict[str, tuple[str, Callable[[datetime], bool]]] = {
    "hour": ("0 * * * *", lambda local: local.minute == 0),
    "20 minutes": ("*/20 * * * *", lambda local: local.minute % 20 == 0),
}
AS_CRON = {
    "day at 01:45": "45 1 * * *",
    "day": "0 0 * * *",
    "2 hours": "0 0,2,4,6,8,10,12,14,16,18,20,22 * * *",
    "weekday at 02:30": "30 2 * * MON-FRI",
    "first sunday of the month at 02:00": "0 2 * * SUN#1",
    "last friday of the month at 17:00": "0 17 * * 5L",
    "month on the 31st at 06:00": "0 6 31 * *",
    "month on the last day at noon": "0 12 L * *",
    **{phrase: expression for phrase, (expression, _) in BY_CLOCK.items()},
}


def walk(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the due moments of a schedule, in UTC."""
    due = schedule.next_after(after)
    while due is not None and (at := due.astimezone(UTC)) <= until:
        yield at
        due = schedule.next_after(due)


@cache
def changes(zone: str) -> list[datetime]:
    """Return the hours in which the clock of a time zone changes."""
    tz = ZoneInfo(zone)
    hours = [FIRST + timedelta(hours=hour) for hour in range(0, (LAST - FIRST) // timedelta(hours=1), 12)]
    return [before for before, after in pairwise(hours) if offset(before, tz) != offset(after, tz)]


def offset(moment: datetime, tz: ZoneInfo) -> timedelta:
    found = moment.astimezone(tz).utcoffset()
    assert found is not None
    return found


def shown(after: datetime, until: datetime, tz: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Yield each minute after one moment and up to another, with the local time."""
    minutes = (after + n * MINUTE for n in range(1, (until - after) // MINUTE + 1))
    return [(minute, minute.astimezone(tz).replace(tzinfo=None)) for minute in minutes]


@st.composite
def zones_and_moments(draw: st.DrawFn) -> tuple[str, datetime]:
    """Draw any moment, or a moment near a change of the clock."""
    zone = draw(st.sampled_from(ZONES))
    seconds = st.integers(0, int((LAST - FIRST).total_seconds())).map(lambda n: FIRST + timedelta(seconds=n))
    if not changes(zone):
        return zone, draw(seconds)
    around = st.tuples(st.sampled_from(changes(zone)), st.integers(0, 15 * 60)).map(lambda of: of[0] + of[1] * MINUTE)
    return zone, draw(seconds | around)


@pytest.mark.parametrize("zone", ZONES)
def test_time_of_day_is_due_once_around_every_clock_change(zone: str) -> None:
    """Return due moments by search: the first minute with that local time, or the next one if the clock skips the time."""
    tz = ZoneInfo(zone)
    for change in changes(zone):
        after, until = change - timedelta(hours=3), change + timedelta(hours=39)
        minutes = shown(after, until, tz)
        new: list[
            tuple[datetime, list[datetime]]
        ] = []  # minutes with a new local time, and the local times that the clock skipped before them
        again: list[datetime] = []  # minutes with a local time that came before
        latest = after.astimezone(tz).replace(tzinfo=None)
        for minute, local in minutes:
            passed = (local - latest) // MINUTE
            if passed > 0:
                new.append((minute, [latest + n * MINUTE for n in range(1, passed + 1)]))
                latest = local
            else:
                again.append(minute)
        for phrase, is_due in OF_DAY.items():
            schedule = every(phrase, tz=zone)
            expected = [minute for minute, locals_ in new if any(map(is_due, locals_))]
            assert list(walk(schedule, after, until)) == expected, phrase
            for minute in again[5::20]:
                following = schedule.next_after(minute)
                assert following not in again and [due for due in expected if due > minute][:1] in ([], [following])
        for phrase, (_, shows) in BY_CLOCK.items():
            expected = [minute for minute, local in minutes if shows(local)]
            assert list(walk(every(phrase, tz=zone), after, until)) == expected, phrase


@settings(max_examples=100, deadline=None)
@given(zones_and_moments(), st.sampled_from(sorted(AS_CRON)))
def test_phrases_are_due_when_cronsim_says(when: tuple[str, datetime], phrase: str) -> None:
    """The same holds for cron(...)."""
    zone, moment = when
    expression, tz = AS_CRON[phrase], ZoneInfo(zone)
    simulated = CronSim(expression, moment.astimezone(tz))
    dues = [due for _, due in zip(range(4), simulated, strict=False) if due.astimezone(UTC) > moment][:3]
    for schedule in (every(phrase, tz=zone), cron(expression, tz=zone)):
        found, due = [], moment
        for _ in dues:
            due = next_after(schedule, due)
            found.append(due)
        assert found == dues
        assert [due.fold for due in found] == [due.fold for due in dues]


@settings(max_examples=100, deadline=None)
@given(
    zones_and_moments(),
    st.sampled_from([*FORMS, *OF_DAY, "7 minutes", "3 days", "day at sunset - 1 hour"]),
    st.floats(0, 1),
)
def test_next_due_moment_is_later_and_stays_next_until_it_comes(
    when: tuple[str, datetime], phrase: str, fraction: float
) -> None:
    zone, moment = when
    schedule = every(phrase, tz=zone, place="Reykjavik")
    due = next_after(schedule, moment)
    assert due.astimezone(UTC) > moment
    assert due.microsecond == 0
    assert due.astimezone(UTC).astimezone(due.tzinfo).replace(tzinfo=None) == due.replace(tzinfo=None)  # in no gap
    between = moment + fraction * (due.astimezone(UTC) - moment)
    if between < due.astimezone(UTC):
        assert next_after(schedule, between) == due
    before = schedule.last_between(moment - 40 * DAY, due)
    assert before == due and before.fold == due.fold
    assert list(schedule.between(moment, due)) == [due]


@given(st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None)), st.integers(1, 90), st.integers(0, 1500))
def test_last_minute_that_a_function_accepts_is_found_from_the_end(
    until: datetime, every_minutes: int, minutes: int
) -> None:
    asked: list[datetime] = []

    def is_due(minute: datetime) -> bool:
        asked.append(minute)
        return (minute.hour * 60 + minute.minute) % every_minutes == 0

    schedule = Schedule(rule=Minutes(is_due, lambda seconds: datetime.fromtimestamp(seconds, UTC)))
    end = until.replace(tzinfo=UTC)
    found = schedule.last_between(end - minutes * MINUTE, end)
    calls = len(asked)
    after = end - min(minutes * MINUTE, DAY)
    assert found == max(schedule.between(after, end), default=None)
    assert calls <= every_minutes


def test_search_for_the_last_minute_gives_up_if_its_function_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer's main process searches, and renews no leases meanwhile."""
    minutes = iter([False, True])
    monkeypatch.setattr("jobqueue.schedules.recurrence.LAST_SEARCH", 0.0)
    schedule = Schedule(rule=Minutes(lambda minute: next(minutes), lambda seconds: FIRST))
    assert schedule.last_between(FIRST, LAST) is None
    assert next(minutes)


def next_after(schedule: Schedule, moment: datetime) -> datetime:
    due = schedule.next_after(moment)
    assert due is not None
    return due


@pytest.mark.parametrize(
    ("phrase", "seconds"), [("7 minutes", 420), ("36 hours", 129_600), ("2 days", 172_800), ("7 seconds", 7)]
)
def test_period_that_divides_neither_hour_nor_day_counts_from_the_epoch(phrase: str, seconds: int) -> None:
    after = datetime(2026, 3, 28, 12, 0, 1, tzinfo=UTC)
    dues = list(walk(every(phrase, tz="Europe/Paris"), after, after + timedelta(seconds=5 * seconds)))
    assert len(dues) == 5
    assert all(due.timestamp() % seconds == 0 for due in dues)


def test_periods_of_seconds_continue_through_an_hour_that_comes_twice() -> None:
    after = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    dues = list(walk(every("30 seconds", tz="Europe/Paris"), after, after + timedelta(hours=2)))
    assert {later - earlier for earlier, later in pairwise(dues)} == {timedelta(seconds=30)}
    assert len(dues) == 240


@pytest.mark.parametrize(
    ("schedule", "after", "dues"),
    [
        (every("month on the 31st at 06:00"), "2026-01-31T06:00", ["2026-03-31T06:00", "2026-05-31T06:00"]),
        (cron("0 0 29 2 *"), "2096-02-29T00:00", ["2104-02-29T00:00", "2108-02-29T00:00"]),  # 2100 is no leap year
        (every("month on the last day at 00:00"), "2027-12-31T00:00", ["2028-01-31T00:00", "2028-02-29T00:00"]),
        (every("15 minutes"), "2026-12-31T23:45", ["2027-01-01T00:00", "2027-01-01T00:15"]),
        (every("thursday at 00:00"), "2026-12-31T00:00", ["2027-01-07T00:00"]),
        (every("first friday of the month at 09:00"), "2026-12-31T00:00", ["2027-01-01T09:00", "2027-02-05T09:00"]),
        (every("second sunday of the month at 09:00"), "2026-03-01T00:00", ["2026-03-08T09:00"]),
        (every("day at 12:00", tz="Pacific/Apia"), "2011-12-30T00:00", ["2011-12-30T10:00", "2011-12-30T22:00"]),
        (cron("0 9 * * 1#5"), "2026-03-30T09:00", ["2026-06-29T09:00"]),  # few months have a fifth Monday
        (every("hour"), "9999-12-31T23:30", [None]),
        (cron("0 0 1 1 0#2"), "2026-01-01T00:00", ["2026-01-11T00:00"]),
    ],
    ids=str,
)
def test_edges_of_the_calendar(schedule: Schedule, after: str, dues: list[str | None]) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    for expected in dues:
        due = schedule.next_after(moment)
        assert (due and due.astimezone(UTC).isoformat()[:16]) == expected
        moment = due or moment


# --- the sun ---

PLACES = {
    "Montreal": ("Montreal", "America/Toronto"),
    "Tromsø": ((69.65, 18.96), "Europe/Oslo"),
    "Sydney": ("Sydney", "Australia/Sydney"),
    "far from its time zone": ((21.3, -157.86), "UTC"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("phrase", "event", "delay"), [("sunset", sunset, 0), ("sunrise + 30 minutes", sunrise, 1800)])
def test_sun_schedules_agree_with_astral_and_report_skipped_days(
    name: str, phrase: str, event: Callable[..., datetime], delay: int
) -> None:
    place, zone = PLACES[name]
    schedule = every(f"day at {phrase}", tz=zone, place=place)  # type: ignore[arg-type]
    assert schedule.place is not None
    observer, tz = Observer(schedule.place.latitude, schedule.place.longitude), ZoneInfo(zone)
    days = [date(2026, 1, 1) + n * DAY for n in range(365)]
    expected, without = [], []
    for day in days:
        try:
            expected.append(event(observer, day, tzinfo=tz).replace(microsecond=0) + timedelta(seconds=delay))
        except ValueError:
            without.append(day)
    start, end = (datetime.combine(day, time(), tz) for day in (days[0], days[-1] + DAY))
    dues = list(walk(schedule, start, end.astimezone(UTC)))
    assert dues == expected
    assert len(without) > 100 if name == "Tromsø" else not without
    assert schedule.skipped(start - MINUTE, end - MINUTE) == without
    for due in dues[::30]:
        height = elevation(observer, due - timedelta(seconds=delay), with_refraction=False)
        assert height == pytest.approx(-0.83, abs=0.1)


def test_schedule_is_never_due_if_the_sun_never_sets_on_its_days() -> None:
    pole = (90, 0)  # where it sets once a year, in September
    assert every("day at sunset", place=pole).next_after(FIRST)
    assert every("month on the 1st at sunset", place=pole).next_after(FIRST) is None


def test_schedule_whose_days_never_see_the_sun_set_is_refused_when_registered() -> None:
    huey = DurableHuey("tests", place=(90, 0))
    huey.periodic_task(every("day at sunset"))
    with pytest.raises(ValueError, match="every month on the 1st at sunset .* is never due: .* does not set"):
        huey.periodic_task(every("month on the 1st at sunset"))


def test_days_on_which_sun_schedules_are_due() -> None:
    schedule = every("last sunday of the month at sunset", tz="America/Toronto", place="Montreal")
    dues = list(walk(schedule, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)))
    local = [due.astimezone(ZoneInfo("America/Toronto")) for due in dues]
    assert len(local) == 12
    assert all(due.weekday() == 6 and (due + 7 * DAY).month != due.month for due in local)


def test_sunsets_in_the_docs_agree_with_schedules_and_astral() -> None:
    assert sunsets.table() in DOCS.read_text(encoding="utf-8")
    without = 0
    for row in sunsets.table().splitlines()[2:]:
        day, *times = (cell.strip() for cell in row.strip("|").split("|"))
        for schedule, printed in zip(sunsets.PLACES.values(), times, strict=True):
            assert schedule.place is not None and schedule.tz is not None
            observer = Observer(schedule.place.latitude, schedule.place.longitude)
            if printed == "–":
                without += 1
                with pytest.raises(ValueError):
                    sunset(observer, date.fromisoformat(day), tzinfo=schedule.tz)
            else:
                assert f"{sunset(observer, date.fromisoformat(day), tzinfo=schedule.tz):%H:%M}" == printed
    assert without == 18  # all in Tromsø: 11 Sundays of midnight sun, 7 of polar night


# --- registered with a DurableHuey ---


def test_schedule_takes_missing_time_zone_and_place_from_its_huey() -> None:
    huey = DurableHuey("tests", timezone="America/Toronto", place="Montreal")
    its_own = every("sunday at sunset", tz="Europe/Oslo", place="Oslo")
    tasks = [
        huey.periodic_task(schedule, name=name)(lambda: None)
        for name, schedule in {"a": every("sunday at sunset"), "b": its_own, "c": cron("0 7 * * *")}.items()
    ]
    assert [str(task.task_class.schedule) for task in tasks] == [
        "every Sunday at sunset in Montreal (America/Toronto)",
        "every Sunday at sunset in Oslo (Europe/Oslo)",
        "at 07:00 every day (America/Toronto)",
    ]
    bare = DurableHuey("tests").periodic_task(every("day at 07:30"))(lambda: None)
    assert str(bare.task_class.schedule) == "every day at 07:30 (UTC)"


def test_sun_schedule_without_a_place_is_refused_when_registered() -> None:
    with pytest.raises(ValueError, match="every day at sunset.* needs a place. .*place=.*DurableHuey"):
        DurableHuey("tests").periodic_task(every("day at sunset"))
    with pytest.raises(ValueError, match="not a time zone"):
        DurableHuey("tests", timezone="Mars")
    with pytest.raises(ValueError, match="not a city"):
        DurableHuey("tests", place="Atlantis").periodic_task(every("day at sunset"))


def test_stock_huey_accepts_a_schedule() -> None:
    """Huey calls the schedule once for each minute, with a naive time in UTC."""
    schedule = every("weekday at 18:00", tz="Europe/Paris")
    asked = [datetime(2026, 11, 25, 17, 0, 30), datetime(2026, 11, 25, 16, 59), datetime(2026, 11, 25, 17, 1)]
    assert [schedule(moment) for moment in asked] == [True, False, False]


# --- phrases ---


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("30 seconds", "every 30 seconds"),
        ("every  Hour", "every hour"),
        ("6 hours", "every 6 hours (UTC)"),
        ("36 hours", "every 36 hours"),
        ("day", "every day at midnight (UTC)"),
        ("weekday at 18:00", "every weekday at 18:00 (UTC)"),
        ("weekend at noon", "every Saturday and Sunday at 12:00 (UTC)"),
        ("sundays, mon and Thursday at 9:00", "every Monday, Thursday and Sunday at 09:00 (UTC)"),
        ("day at 07:30, 12:00 and 18:00", "every day at 07:30, 12:00 and 18:00 (UTC)"),
        ("month on the 1st at 06:00", "every month on the 1st at 06:00 (UTC)"),
        ("month on the 22nd and 31st at 06:00", "every month on the 22nd and 31st, where it has one, at 06:00 (UTC)"),
        ("last friday of the month at 17:00", "every month on the last Friday at 17:00 (UTC)"),
        ("second tuesday of every month at 17:00", "every month on the second Tuesday at 17:00 (UTC)"),
        ("last day of the month at 17:00", "every month on the last day at 17:00 (UTC)"),
        ("sunday at sunset", "every Sunday at sunset in Montreal (UTC)"),
        ("day at sunrise + 1 minute", "every day 1 minute after sunrise in Montreal (UTC)"),
        ("day at sunset - 2 hours", "every day 2 hours before sunset in Montreal (UTC)"),
    ],
)
def test_phrase_prints_as_plain_english(written: str, read: str) -> None:
    assert str(every(written, place="montreal")) == read


def test_cron_prints_as_plain_english() -> None:
    assert str(cron("0 7 * * MON-FRI", tz="Europe/Paris")) == "at 07:00 on Monday through Friday (Europe/Paris)"
    assert str(cron("*/5 * * * *")) == "every fifth minute of every hour (UTC)"


@pytest.mark.parametrize("form", FORMS)
def test_every_listed_form_is_understood(form: str) -> None:
    assert every(form, place="Montreal").next_after(FIRST)


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("wekday at 18:00", "weekday at 18:00"),
        ("day 07:30", "day at 07:30"),
        ("last fryday of the month at 17:00", "last friday of the month at 17:00"),
        ("1.5 hours", "90 minutes"),
        ("sunday at dusk", "sunday at sunset"),
        ("monday morning", "monday at 9:00"),
        ("twice a day", "12 hours"),
        ("biweekly", "2 weeks"),
        ("5m", "5 minutes"),
        ("not monday", None),  # nothing similar means the same
        ("fifth friday of the month at 17:00", None),
        ("second monday", None),  # of the month, or every other one
    ],
)
def test_unknown_phrase_is_refused_with_all_forms_and_one_that_means_the_same(
    written: str, nearest: str | None
) -> None:
    with pytest.raises(NotUnderstood) as refusal:
        every(written)
    hint = str(refusal.value).partition(" The supported")[0].removeprefix(f"{written!r} is not understood.").strip()
    assert hint == ("" if nearest is None else f"Did you mean {nearest!r}?")
    assert all(form in str(refusal.value) for form in FORMS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: every("day at 25:00"), "25:00 is not a time of day"),
        (lambda: every("0 minutes"), "at least 1"),
        (lambda: every("month on the 32nd at 9:00"), "no month has a 32nd"),
        (lambda: every("day at sunset + 12 hours"), "too far from sunset"),
        (lambda: every("99999999999 days"), "longer than 100 years. Choose a period of at most 36525 days"),
        (lambda: every("36526 days"), "longer than 100 years"),
        (lambda: every("876601 hours"), "longer than 100 years"),
        (lambda: every("3155760001 seconds"), "longer than 100 years"),
        (lambda: every("9" * 5000 + " minutes"), "is not understood"),
        (lambda: every("day at sunset + " + "9" * 5000 + " minutes"), "is not understood"),
        (lambda: every("month on the " + "9" * 5000 + "th at 9:00"), "is not understood"),
        (lambda: every("101 years"), "longer than 100 years"),
        (lambda: every("5218 weeks at 9"), "longer than 100 years"),
        (lambda: every("february 30 at 9"), "February has the days 1 to 29"),
        (lambda: every("hour at :60"), "names a minute that no hour has"),
        (lambda: every("20th business day of the month"), "at most the 15th"),
        (lambda: every("monday at 13pm"), "13pm is not a time of day"),
        (lambda: every("monday at 9 and 10pm"), "one without. Say which half"),
        (lambda: every("hour between 9 and 5 on weekdays"), "ends before it begins"),
        (lambda: every("2 hours between 9 and 10"), "longer than its hours"),
        (lambda: every("monday except monday"), "leaves no day"),
        (lambda: every("day except holidays"), "does not say which holidays"),
        (lambda: every("monday at 9", holidays="US"), "no business days, so holidays='US' has no effect"),
        (lambda: every("business day", holidays="NYSX"), "'NYSX' is not known. Did you mean '[A-Z]*'"),
        (lambda: every("business day", holidays="DE-XX"), "'DE-XX' is not known"),
        (lambda: every("monday at 9", start="2026-01-01"), "start='2026-01-01' has no effect"),
        (lambda: every("2 weeks", start="soon"), "start='soon' is not a day"),
        (lambda: cron("0 7 * *"), "Wrong number of fields.*MON-FRI"),
        (lambda: cron("0 0 30 2 *"), "Bad day-of-month"),
        (lambda: cron("9" * 5000 + " * * * *"), "cannot be parsed"),
        (lambda: cron("*/90 * * * *"), r"'\*/90' selects a single minute.*every\('90 minutes'\)"),
        (lambda: cron("5,0-20/30 * * * *"), "'0-20/30' selects a single minute"),
        (lambda: cron("7-7/2 * * * *"), "'7-7/2' selects a single minute"),
        (lambda: cron("0 0 L/2 * *"), "'L/2' selects a single day of the month"),
        (lambda: cron("0 0 * * 7/2"), "'7/2' selects a single day of the week"),
        (lambda: cron("0 0 * * 0/7"), "'0/7' selects a single day of the week"),
        (lambda: cron("0/60 0 7 * * *"), "'0/60' selects a single second"),
        (lambda: cron("0 0 */10 2 1#5"), "is never due"),
        (lambda: every("hour", tz="Europe/Pari"), "'Europe/Pari' is not a time zone.*'Europe/Paris'"),
        (lambda: every("hour", tz="../etc"), "not a time zone"),
        (lambda: every("day at sunset", place="Motreal"), "not a city that astral knows. Did you mean 'Montreal'"),
        (lambda: every("day at sunset", place="Tromsø"), "degrees north and east: "),
        (lambda: every("day at sunset", place=(1, 200)), "-180 to 180 degrees east"),
        (lambda: every("day at sunset", place=4.5), "Give a city, or degrees"),  # type: ignore[arg-type]
        (lambda: every("hour", overlap="both"), "'skip' or 'queue'"),  # type: ignore[arg-type]
        (lambda: every("hour", grace=-1), "0 seconds or more"),
        (lambda: every("hour", grace=float("inf")), "grace=inf .* 0 seconds or more"),
        (lambda: every("hour", grace=float("nan")), "grace=nan .* 0 seconds or more"),
        (lambda: cron("0 7 * * *", grace="soon"), "grace='soon' .* 0 seconds or more"),  # type: ignore[arg-type]
        (lambda: every("hour").next_after(datetime(2026, 1, 1)), "has no time zone"),
    ],
)
def test_mistake_is_refused_with_a_message_that_says_what_to_write(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# The values of each field of a cron expression, with its place among them.
FIELDS = [range(60), range(24), range(1, 32), range(1, 13), range(7)]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_step_that_selects_one_value_is_refused_in_every_field_of_cron(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, 4))
    values, step = FIELDS[place], data.draw(st.integers(1, 120))
    first = data.draw(st.sampled_from(values))
    last = data.draw(st.integers(first, max(values)))
    base, selected = data.draw(
        st.sampled_from(
            [
                ("*", values[::step]),
                (f"{first}", range(first, 8 if place == 4 else max(values) + 1, step)),  # 7 is a Sunday too
                (f"{first}-{last}", range(first, last + 1, step)),
            ]
        )
    )
    fields = ["0", "0", "*", "*", "*"]
    fields[place] = f"{base}/{step}"
    if len(selected) == 1:
        with pytest.raises(ValueError, match="selects a single"):
            cron(" ".join(fields))
        return
    due = cron(" ".join(fields)).next_after(FIRST)
    assert due is not None
    found = [due.minute, due.hour, due.day, due.month, (due.weekday() + 1) % 7][place]
    assert found in selected or (place == 4 and found == 0 and 7 in selected)


@given(st.integers(1, 10**12), st.sampled_from(["second", "minute", "hour", "day"]))
def test_every_accepted_period_is_due_within_a_hundred_years(number: int, unit: str) -> None:
    hundred_years = timedelta(days=36525)
    try:
        due = next_after(every(f"{number} {unit}s"), FIRST)
    except ValueError:
        assert number * timedelta(**{f"{unit}s": 1}).total_seconds() > hundred_years.total_seconds()
    else:
        assert due <= FIRST + hundred_years
