//! From systemd's calendar events, systemd.time(7), to cron, where cron can say the same.
//!
//! What is read is the normalised form, as the manager gives it: `Mon..Fri *-*-* 09:00:00 UTC`.

/// A calendar event that cron can express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// Five fields.
    pub expression: String,
    /// The zone that the event names; without one, the host's.
    pub timezone: Option<String>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The same in cron's words.
///
/// # Errors
/// Why cron cannot say it, to follow "it".
pub fn to_cron(event: &str) -> Result<Cron, String> {
    let mut words: Vec<&str> = event.split_ascii_whitespace().collect();
    let is_zone = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.parse::<chrono_tz::Tz>().is_ok()
    };
    let timezone = words.last().filter(|word| is_zone(word)).copied();
    if timezone.is_some() {
        words.pop();
    }
    let (weekdays, date, time) = match words.as_slice() {
        [date, time] => (None, *date, *time),
        [weekdays, date, time] => (Some(*weekdays), *date, *time),
        _other => {
            return Err(format!(
                "says `{event}`, which is no calendar event known here"
            ));
        }
    };
    let weekday = match weekdays {
        Some(list) => days(list).ok_or_else(|| format!("names the days `{list}`"))?,
        None => "*".to_owned(),
    };
    if date.contains('~') {
        return Err("counts days from the end of the month, which cron cannot".to_owned());
    }
    let mut fields = date.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format!("names the date `{date}`"));
    };
    if year != "*" {
        return Err("names a year, which cron cannot".to_owned());
    }
    let mut fields = time.splitn(3, ':');
    let (Some(hour), Some(minute), Some(second)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(format!("names the time `{time}`"));
    };
    if second.parse::<u8>() != Ok(0) {
        return Err("is due within a minute, which cron cannot say".to_owned());
    }
    if weekday != "*" && day != "*" {
        return Err(
            "wants day of the week and day of the month both, where cron takes either".to_owned(),
        );
    }
    let field = |text, first, last| list(text, first, last);
    let fields = [
        field(minute, 0, 59),
        field(hour, 0, 23),
        field(day, 1, 31),
        field(month, 1, 12),
    ];
    let fields: Option<Vec<String>> = fields.into_iter().collect();
    let fields = fields.ok_or_else(|| format!("says `{event}`, which cron cannot"))?;
    let expression = format!("{} {weekday}", fields.join(" "));
    crate::service::schedule::check_cron(&expression, "UTC")
        .map_err(|invalid| format!("says `{event}`: {invalid}"))?;
    Ok(Cron {
        expression,
        timezone: timezone.map(ToOwned::to_owned),
    })
}

/// `Mon..Fri,Sun` as `1-5,0`.
fn days(text: &str) -> Option<String> {
    let number = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let at = DAYS.iter().position(|day| lower.starts_with(day))?;
        // Cron's Sunday is 0 or 7: as 7 it ends a range that begins earlier.
        Some(at + 1)
    };
    let items = text.split(',').map(|item| match item.split_once("..") {
        Some((from, to)) => Some(format!("{}-{}", number(from)?, number(to)?)),
        None => Some(number(item)?.to_string()),
    });
    let items: Option<Vec<String>> = items.collect();
    Some(items?.join(","))
}

/// `07..57/10,00` as `7-57/10,0`; a repetition without an end goes on to the last.
fn list(text: &str, first: u32, last: u32) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let number = |word: &str| {
        let number: u32 = word.parse().ok()?;
        (first..=last).contains(&number).then_some(number)
    };
    let items = text.split(',').map(|item| {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|s| *s > 0)?)),
            None => (item, None),
        };
        let (low, high) = match range.split_once("..") {
            Some((low, high)) => (number(low)?, number(high)?),
            None if step.is_some() => (number(range)?, last),
            None => {
                let only = number(range)?;
                return Some(only.to_string());
            }
        };
        Some(match step {
            // A step past the end meets the first alone.
            Some(step) if step > high.saturating_sub(low) => low.to_string(),
            Some(step) => format!("{low}-{high}/{step}"),
            None => format!("{low}-{high}"),
        })
    });
    let items: Option<Vec<String>> = items.collect();
    Some(items?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cron_can_say_is_said() {
        for (event, expected) in [
            ("*-*-* 00:00:00", "0 0 * * *"),
            ("Mon *-*-* 00:00:00", "0 0 * * 1"),
            ("Sun *-*-* 03:10:00", "10 3 * * 7"),
            ("Mon..Fri *-*-* 09:00:00", "0 9 * * 1-5"),
            ("Mon,Wed..Sun *-*-* 00:00:00", "0 0 * * 1,3-7"),
            ("*-*-01 00:00:00", "0 0 1 * *"),
            ("*-01,04,07,10-01 00:00:00", "0 0 1 1,4,7,10 *"),
            ("*-*-* 06,18:00:00", "0 6,18 * * *"),
            ("*-*-* *:09,39:00", "9,39 * * * *"),
            ("*-*-* *:00/10:00", "0-59/10 * * * *"),
            ("*-*-* *:07..57/10:00", "7-57/10 * * * *"),
            ("*-*-* 07..23:30:00", "30 7-23 * * *"),
            ("*-*-* *:*:00", "* * * * *"),
            ("*-*-* 00/2:30:00", "30 0-23/2 * * *"),
            ("*-*-01/2 00:00:00", "0 0 1-31/2 * *"),
            ("*-01/3-01 00:00:00", "0 0 1 1-12/3 *"),
            ("*-*-* 20/6:00:00", "0 20 * * *"),
        ] {
            let cron = to_cron(event).unwrap();
            assert_eq!(
                (cron.expression.as_str(), cron.timezone),
                (expected, None),
                "{event}"
            );
        }
        let zoned = to_cron("*-*-* 02:30:00 Europe/Paris").unwrap();
        assert_eq!(zoned.timezone.as_deref(), Some("Europe/Paris"));
    }

    #[test]
    fn what_cron_cannot_say_is_refused_with_the_reason() {
        for (event, expected) in [
            ("Sun *-*-01..07 01:00:00", "both"),
            ("*-*~01 00:00:00", "from the end"),
            ("2026-*-* 01:00:00", "a year"),
            ("*-*-* *:*:00/10", "within a minute"),
            ("*-*-* 00:00:30", "within a minute"),
            ("*-*-* 00:00:00.500000", "within a minute"),
            ("*-02-30 00:00:00", "no such date"),
            ("", "no calendar event"),
            ("daily", "no calendar event"),
            ("*-*-* 00:00:00 Mars/Olympus", "days"),
        ] {
            let why = to_cron(event).unwrap_err();
            assert!(why.contains(expected), "{event}: {why}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-*/,.:~0-9A-Za-z ]{0,40}") {
            let _ = to_cron(&text);
        }
    }
}
