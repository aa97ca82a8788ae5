"""Occurrences of cron expressions by walking the minutes over the system's zoneinfo.

Reads JSON from standard input: {"zones": [...], "expressions": [...], "years": [from, to]}; an empty
list of zones is all of them. For every change of a zone's offset in those years it walks from three
days before to two days after, and writes one line of JSON a window: zone, first and last minute
(seconds since 1970, the last not included), and for each expression its occurrences as
[second, missed].
"""
import json
import sys
import zoneinfo
from datetime import datetime, timedelta, timezone

UTC = timezone.utc
MINUTE = timedelta(minutes=1)


def field(text, low, high):
    values = set()
    for part in text.split(","):
        part, _, step = part.partition("/")
        if part == "*":
            first, last = low, high
        else:
            first, _, last = part.partition("-")
            first = int(first)
            last = int(last) if last else first
        values.update(range(first, last + 1, int(step or 1)))
    return values


class Expression:
    def __init__(self, text):
        minute, hour, day, month, weekday = text.split()
        self.minutes = field(minute, 0, 59)
        self.hours = field(hour, 0, 23)
        self.days = field(day, 1, 31)
        self.months = field(month, 1, 12)
        self.weekdays = {value % 7 for value in field(weekday, 0, 7)}
        self.either = day[0] != "*" and weekday[0] != "*"
        self.any_hour = hour[0] == "*"

    def meets(self, local):
        if local.minute not in self.minutes or local.hour not in self.hours:
            return False
        if local.month not in self.months:
            return False
        day = local.day in self.days
        weekday = local.isoweekday() % 7 in self.weekdays
        return (day or weekday) if self.either else (day and weekday)


def walk(zone, expressions, start, end):
    """All occurrences from start on, up to end."""
    found = [[] for _ in expressions]
    now = start - timedelta(days=1)
    before = now.astimezone(zone).replace(tzinfo=None) - MINUTE
    furthest = before
    while now < end:
        local = now.astimezone(zone).replace(tzinfo=None)
        leapt = []
        between = before + MINUTE
        while between < local:
            leapt.append(between)
            between += MINUTE
        missed = len(leapt) > 180
        again = local <= furthest
        for number, expression in enumerate(expressions):
            if now < start:
                break
            here = expression.meets(local)
            if expression.any_hour:
                if here:
                    found[number].append([int(now.timestamp()), False])
                continue
            made_up = any(expression.meets(t) for t in leapt if t > furthest)
            if made_up or (here and not again):
                found[number].append([int(now.timestamp()), missed and made_up])
        furthest = max(furthest, local)
        before = local
        now += MINUTE
    return found


def changes(zone, first, last):
    now = datetime(first, 1, 1, tzinfo=UTC)
    end = datetime(last + 1, 1, 1, tzinfo=UTC)
    day = timedelta(days=1)
    while now < end:
        if now.astimezone(zone).utcoffset() != (now + day).astimezone(zone).utcoffset():
            yield now
        now += day


def main():
    asked = json.load(sys.stdin)
    expressions = [Expression(text) for text in asked["expressions"]]
    zones = asked["zones"] or sorted(zoneinfo.available_timezones())
    for name in zones:
        zone = zoneinfo.ZoneInfo(name)
        for day in changes(zone, *asked["years"]):
            start = day - timedelta(days=2)
            end = day + timedelta(days=3)
            window = [int(start.timestamp()), int(end.timestamp())]
            print(json.dumps([name, *window, walk(zone, expressions, start, end)]))


main()
