"""The `timer:` of a service: when it runs next.

snapd's grammar, of which all that snap.yaml uses is kept: sets separated by `,,`; in a set weekdays (`mon`, `mon-fri`,
`mon2` for the second, `fri5` for the last) and clock spans (`10:00`, `10:00-12:00`, `10:00~12:00` for a random time in
it), a span cut into N parts by `/N`. A set without weekdays is every day, one without spans is midnight.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from snapedge_hooks.errors import SnapedgeError

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)([1-5])?(?:-(mon|tue|wed|thu|fri|sat|sun)([1-5])?)?$")
_SPAN: Final = re.compile(r"^(\d{1,2}):(\d{2})(?:([-~])(\d{1,2}):(\d{2}))?(?:/(\d+))?$")
_LAST_WEEK: Final = 5
_MINUTES_OF_DAY: Final = 24 * 60


class ScheduleError(SnapedgeError):
    """A timer that snapd cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the day, in minutes from midnight; `spread` asks for a random moment in it."""

    start: int
    end: int
    spread: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekday:
    """A day of the week (Monday is 0); `week` 1 to 4 is that one of the month, 5 the last, None every one."""

    day: int
    week: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Spans on days; no days means every day."""

    days: tuple[Weekday, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A whole timer, and the text it came from."""

    text: str
    rules: tuple[Rule, ...]


def parse(text: str) -> Schedule:
    """The schedule that `text` means.

    Raises:
        ScheduleError: in snapd's words.
    """
    return Schedule(text=text, rules=tuple(_rule(part) for part in text.split(",,")))


def next_after(schedule: Schedule, now: datetime, chance: random.Random) -> datetime:
    """The first moment after `now` that the schedule names; `chance` picks it within a random span."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for offset in range(400):
        date = day + timedelta(days=offset)
        moments = [
            _moment(date, span, now, chance)
            for rule in schedule.rules
            if not rule.days or any(_falls_on(one, date) for one in rule.days)
            for span in rule.spans
        ]
        later = [moment for moment in moments if moment > now]
        if later:
            return min(later)
    raise ScheduleError(f'cannot find a day for the timer "{schedule.text}"')


def _moment(date: datetime, span: Span, now: datetime, chance: random.Random) -> datetime:
    start = date + timedelta(minutes=span.start)
    end = date + timedelta(minutes=span.end)
    if not span.spread or start >= end:
        return start
    earliest = max(start, now) if now < end else start
    return earliest + (end - earliest) * chance.uniform(0.001, 0.999)


def _falls_on(weekday: Weekday, date: datetime) -> bool:
    if date.weekday() != weekday.day:
        return False
    if weekday.week is None:
        return True
    if weekday.week == _LAST_WEEK:
        return (date + timedelta(days=7)).month != date.month
    return (date.day - 1) // 7 + 1 == weekday.week


def _rule(text: str) -> Rule:
    days: list[Weekday] = []
    spans: list[Span] = []
    for raw in text.split(","):
        part = raw.strip()
        if (day := _DAY.fullmatch(part)) is not None:
            days.extend(_days(day))
        elif (span := _SPAN.fullmatch(part)) is not None:
            spans.extend(_spans(span, part))
        else:
            raise ScheduleError(f'cannot parse "{part}": not a valid event')
    return Rule(days=tuple(days), spans=tuple(spans) or (Span(start=0, end=0, spread=False),))


def _days(found: re.Match[str]) -> list[Weekday]:
    first, week, last, last_week = found.groups()
    start = _DAYS.index(first)
    number = int(week or last_week) if (week or last_week) else None
    length = (_DAYS.index(last) - start) % 7 + 1 if last else 1
    return [Weekday(day=(start + step) % 7, week=number) for step in range(length)]


def _spans(found: re.Match[str], text: str) -> list[Span]:
    start = _minutes(found[1], found[2], text)
    end = _minutes(found[4], found[5], text) if found[4] else start
    if end < start:
        end += _MINUTES_OF_DAY
    parts = int(found[6]) if found[6] else 1
    if parts < 1 or parts > max(1, end - start):
        raise ScheduleError(f'cannot parse "{text}": not a valid interval')
    edges = [start + (end - start) * number // parts for number in range(parts + 1)]
    return [Span(start=edges[number], end=edges[number + 1], spread=found[3] == "~") for number in range(parts)]


def _minutes(hours: str, minutes: str, text: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if total > _MINUTES_OF_DAY or int(minutes) > time.max.minute:
        raise ScheduleError(f'cannot parse "{text}": not a valid time')
    return total
