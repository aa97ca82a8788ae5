//! Cron expressions: five fields as crontab(5) reads them.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use crate::id::Invalid;

/// The days after which the Gregorian calendar, weekdays included, repeats.
const CYCLE: u64 = 146_097;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A parsed expression, each field a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the hour field begins with `*`, which makes the schedule one of elapsed time.
    pub(super) any_hour: bool,
    /// Whether day of month and day of week are both given, so that either suffices.
    either_day: bool,
}

/// What a field may hold.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    words: &'static [&'static str],
}

impl Field {
    fn value(&self, text: &str) -> Result<u32, Invalid> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.words.iter().position(|word| *word == lower) {
            return Ok(self.first + u32::try_from(at).unwrap_or(0));
        }
        let number = text.bytes().all(|c| c.is_ascii_digit()) && text.len() <= 2;
        let value = text.parse::<u32>().ok().filter(|_| number);
        value
            .filter(|value| (self.first..=self.last).contains(value))
            .ok_or_else(|| {
                Invalid(format!(
                    "`{text}` is no {}; it goes from {} to {}",
                    self.name, self.first, self.last
                ))
            })
    }

    fn set(&self, text: &str) -> Result<u64, Invalid> {
        let mut bits = 0;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                None => (item, None),
                Some((range, step)) => (range, Some(step)),
            };
            let (low, high) = match range.split_once('-') {
                _ if range == "*" => (self.first, self.last),
                Some((low, high)) => (self.value(low)?, self.value(high)?),
                None if step.is_some() => {
                    return Err(Invalid(format!(
                        "`{item}`: a step needs a range, as `*/5` or `10-50/5`"
                    )));
                }
                None => {
                    let value = self.value(range)?;
                    (value, value)
                }
            };
            if low > high {
                return Err(Invalid(format!(
                    "`{item}`: the range of the {} ends before it begins",
                    self.name
                )));
            }
            let step = match step {
                None => 1,
                Some(text) => text
                    .parse::<usize>()
                    .ok()
                    .filter(|step| (1..=60).contains(step) && !text.starts_with('+'))
                    .ok_or_else(|| Invalid(format!("`{item}`: a step goes from 1 to 60")))?,
            };
            for value in (low..=high).step_by(step) {
                bits |= 1_u64 << value;
            }
        }
        Ok(bits)
    }
}

impl std::str::FromStr for Cron {
    type Err = Invalid;

    /// # Errors
    /// Anything but five fields of numbers, English names, lists, ranges and steps, and an
    /// expression that no date ever meets.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(Invalid(format!(
                "`{text}` has {} fields; a cron expression has five: minute, hour, day of month, month, day of week",
                fields.len()
            )));
        };
        let field = |name, first, last, words| Field {
            name,
            first,
            last,
            words,
        };
        let mut weekdays = field("day of week", 0, 7, &WEEKDAYS).set(weekday)?;
        if weekdays & 1 << 7 != 0 {
            weekdays = weekdays & 0x7f | 1;
        }
        let cron = Self {
            minutes: field("minute", 0, 59, &[]).set(minute)?,
            hours: field("hour", 0, 23, &[]).set(hour)?,
            days: field("day of month", 1, 31, &[]).set(day)?,
            months: field("month", 1, 12, &MONTHS).set(month)?,
            weekdays,
            any_hour: hour.starts_with('*'),
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        let start = NaiveDate::default();
        if cron.next_day(start).is_none() {
            return Err(Invalid(format!("`{text}`: there is no such date")));
        }
        Ok(cron)
    }
}

/// The lowest member of a set that is at least `from`.
fn at_least(bits: u64, from: u32) -> Option<u32> {
    let rest = bits.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

impl Cron {
    fn meets(&self, date: NaiveDate) -> bool {
        let day = self.days & 1 << date.day() != 0;
        let weekday = self.weekdays & 1 << date.weekday().num_days_from_sunday() != 0;
        let month = self.months & 1 << date.month() != 0;
        // crontab(5): with both fields restricted, either suffices.
        month
            && if self.either_day {
                day || weekday
            } else {
                day && weekday
            }
    }

    /// The first matching date from `date` on.
    fn next_day(&self, mut date: NaiveDate) -> Option<NaiveDate> {
        let last = date.checked_add_days(Days::new(CYCLE))?;
        while date <= last {
            if self.months & 1 << date.month() == 0 {
                date = first_of_next_month(date)?;
            } else if self.meets(date) {
                return Some(date);
            } else {
                date = date.succ_opt()?;
            }
        }
        None
    }

    /// The first matching local time from `from` on, whole minutes.
    pub(super) fn next(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let mut from = if from.second() == 0 && from.nanosecond() == 0 {
            from
        } else {
            let whole = from.with_second(0)?.with_nanosecond(0)?;
            whole.checked_add_signed(chrono::TimeDelta::minutes(1))?
        };
        loop {
            let date = self.next_day(from.date())?;
            let (hour, minute) = if date == from.date() {
                (from.hour(), from.minute())
            } else {
                (0, 0)
            };
            if let Some((hour, minute)) = self.next_time(hour, minute) {
                return Some(date.and_time(NaiveTime::from_hms_opt(hour, minute, 0)?));
            }
            from = date.succ_opt()?.and_time(NaiveTime::MIN);
        }
    }

    fn next_time(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        let next_hour = at_least(self.hours, hour)?;
        if next_hour == hour
            && let Some(minute) = at_least(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        let next_hour = at_least(self.hours, hour + u32::from(next_hour == hour))?;
        Some((next_hour, at_least(self.minutes, 0)?))
    }

    /// Every minute of a day, 0 to 1439, that matches on a matching date.
    pub(super) fn minutes_of_day(&self) -> impl Iterator<Item = u32> + '_ {
        (0..1440)
            .filter(|at| self.hours & 1 << (at / 60) != 0 && self.minutes & 1 << (at % 60) != 0)
    }
}

fn first_of_next_month(date: NaiveDate) -> Option<NaiveDate> {
    match date.month() {
        12 => NaiveDate::from_ymd_opt(date.year() + 1, 1, 1),
        month => NaiveDate::from_ymd_opt(date.year(), month + 1, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap()
    }

    #[test]
    fn the_next_local_time() {
        let table = [
            ("30 2 * * *", "2026-02-09 02:30:00", "2026-02-09 02:30"),
            ("30 2 * * *", "2026-02-09 02:30:01", "2026-02-10 02:30"),
            ("*/15 * * * *", "2026-12-31 23:46:00", "2027-01-01 00:00"),
            ("0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00"),
            (
                "0 9-17/4 * * mon-fri",
                "2026-02-06 17:01:00",
                "2026-02-09 09:00",
            ),
            ("5,35 1 * * 7", "2026-02-09 00:00:00", "2026-02-15 01:05"),
            (
                "0 0 * JAN,Mar sun",
                "2026-02-09 00:00:00",
                "2026-03-01 00:00",
            ),
            // Both days given: the 13th or a Friday; a `*/n` counts as not given.
            ("0 0 13 * fri", "2026-02-09 00:00:00", "2026-02-13 00:00"),
            ("0 0 13 * fri", "2026-02-14 00:00:00", "2026-02-20 00:00"),
            ("0 0 */2 * fri", "2026-02-14 00:00:00", "2026-02-27 00:00"),
            ("0 0 29 2 */3", "2026-02-14 00:00:00", "2032-02-29 00:00"),
        ];
        for (text, from, expected) in table {
            let next = text.parse::<Cron>().unwrap().next(local(from)).unwrap();
            let next = next.format("%Y-%m-%d %H:%M").to_string();
            assert_eq!(next, expected, "{text} from {from}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_a_reason() {
        let table = [
            ("", "five"),
            ("* * * *", "five"),
            ("0 0 * * * *", "five"),
            ("@daily", "five"),
            ("60 * * * *", "0 to 59"),
            ("* 24 * * *", "0 to 23"),
            ("* * 0 * *", "1 to 31"),
            ("* * * 13 *", "1 to 12"),
            ("* * * * 8", "0 to 7"),
            ("-1 * * * *", "minute"),
            ("+1 * * * *", "minute"),
            ("*/0 * * * *", "step"),
            ("*/+5 * * * *", "step"),
            ("5/10 * * * *", "step"),
            ("*/99999999999999999999 * * * *", "step"),
            ("50-10 * * * *", "ends before"),
            ("1,,2 * * * *", "minute"),
            ("* * * * fri-mon", "ends before"),
            ("0 0 31 2 *", "no such date"),
            ("0 0 30 feb *", "no such date"),
            ("0 0 31 4,6,9,11 *", "no such date"),
            ("* * L * *", "day of month"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-*/,0-9a-z @]{0,30}") {
            if let Ok(cron) = text.parse::<Cron>() {
                proptest::prop_assert!(cron.next(local("2026-01-01 00:00:00")).is_some());
            }
        }
    }
}
