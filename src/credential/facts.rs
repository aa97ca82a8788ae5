//! What is known of a credential besides its image: whose end comes when, and what is due.

use serde::{Deserialize, Serialize};

use crate::{
    effect::disk::{Disk, Durability},
    error::{Error, Result},
    id::{ResourceName, Timestamp},
    layout::Layout,
    retry,
};

use super::{
    definition::Credential,
    finding::{Expiry, Finding, Provenance, Status},
    key::Fingerprint,
    mint::{Issuer, Loss, policy},
    record::{Generation, Record},
    setback::{Failed, Setback},
};

/// What a plan tells of a credential that is there. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The number of the value in use; 0 where there is none.
    pub generation: u64,
    /// What stands for the value in use, where the key is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// When it was stored, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obtained_at: Option<Timestamp>,
    /// When it ends, and where that is known from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// When a new value is to be obtained, UTC, where its source can be asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// When an old value is to be revoked, UTC, where one still lives and its issuer ends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_at: Option<Timestamp>,
    /// Why one is to be obtained now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Due>,
    /// What its issuer last said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// What stands in the way of the next value, where the last try brought none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
}

/// Why a new value is to be obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// Someone asked for it.
    Asked,
    /// It ends soon, or has.
    Ends,
    /// Its issuer does not take it any more.
    Dead,
    /// One was made already, and is to be delivered.
    Pending,
    /// An old one is to be ended.
    Revoke,
    /// Whether one was made cannot be told, and must not be tried again.
    Lost,
    /// It was delivered, and whoever reads it was not told.
    Reload,
}

impl Due {
    /// The text of the part of a value that someone asked for.
    pub const ASKED: &'static str = "a new value was asked for";

    /// In words: the text of its part.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => Self::ASKED,
            Self::Ends => "it ends soon",
            Self::Dead => "its issuer does not take it any more",
            Self::Pending => "a new value was made, and is to be delivered",
            Self::Revoke => "an old value is to be revoked",
            Self::Lost => "it cannot be told whether a new value was made",
            Self::Reload => "it was delivered, and what reads it was not reloaded",
        }
    }

    /// Whether a new value is to be had.
    pub const fn wants_value(self) -> bool {
        match self {
            Self::Asked | Self::Ends | Self::Dead => true,
            Self::Pending | Self::Revoke | Self::Lost | Self::Reload => false,
        }
    }
}

/// What an issuer said of a value, kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The value's number.
    pub generation: u64,
    /// Where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How often in a row it was found dead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead: u32,
    /// What was found.
    pub finding: Finding,
    /// Why it was not renewed, where the last try failed and no issuer's record has that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The largest file of a finding, in bytes.
const LARGEST: u64 = 1 << 20;

/// How long a dead value is left alone at first; twice as long after each time.
const DEAD_FIRST: i64 = 15 * 60;

/// How long it is left alone at most.
const DEAD_MOST: i64 = 86_400;

impl Noted {
    /// What was last found; `None` where nothing was, or it cannot be read: it is only asked once more.
    pub fn read(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Option<Self> {
        let read = disk.read(&layout.secret_finding(name), LARGEST).ok()??;
        serde_json::from_slice(&read.bytes).ok()
    }

    /// What is to be kept of a finding, after the one before it.
    pub fn next(
        before: Option<&Self>,
        generation: u64,
        credential: &Credential,
        mut finding: Finding,
    ) -> Self {
        let url = super::issuer::resolved_url(credential);
        let same = before.filter(|one| one.generation == generation && one.url == url);
        let times = same.map_or(0, |one| one.dead);
        let tells_less =
            finding.partial || matches!(finding.status, Status::Throttled | Status::Error);
        if let (Some(old), true) = (same, tells_less) {
            // What was known of it is still so.
            finding.expiry = finding.expiry.or(old.finding.expiry);
            finding.scopes = finding.scopes.or_else(|| old.finding.scopes.clone());
            finding.account = finding.account.or_else(|| old.finding.account.clone());
        }
        Self {
            generation,
            url,
            dead: match finding.status {
                Status::Expired | Status::Revoked | Status::Rejected => times.saturating_add(1),
                // What tells nothing changes nothing.
                Status::Throttled | Status::Error => times,
                Status::Live | Status::LiveUnderScoped | Status::NotImplemented => 0,
            },
            finding,
            failed: (before.filter(|one| one.generation == generation))
                .and_then(|one| one.failed.clone()),
        }
    }

    /// Keeps what was found.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<()> {
        let path = layout.secret_finding(name);
        let bytes = serde_json::to_vec(self).map_err(|error| {
            Error::new(crate::error::Code::Internal, "a finding cannot be written").because(error)
        })?;
        // It can be found again.
        disk.write(&path, &bytes, 0o600, None, Durability::Batch)
            .map_err(|error| Error::io("write", &path, error))
    }

    /// The same, unless a later value has taken the place of the one that was asked about meanwhile.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_if_newest(
        &self,
        disk: &dyn Disk,
        layout: &Layout,
        name: &ResourceName,
    ) -> Result<()> {
        match Self::read(disk, layout, name) {
            Some(there) if self.generation < there.generation => Ok(()),
            Some(_) | None => self.write(disk, layout, name),
        }
    }

    /// When the issuer may be asked again.
    pub fn ask_again(&self) -> Timestamp {
        let probed = self.finding.probed_at;
        match self.finding.status {
            Status::Throttled => self.finding.retry_at.unwrap_or(probed.plus_seconds(60)),
            Status::Expired | Status::Revoked | Status::Rejected => {
                let doublings = self.dead.saturating_sub(1).min(16);
                probed.plus_seconds((DEAD_FIRST << doublings).min(DEAD_MOST))
            }
            Status::Live | Status::LiveUnderScoped | Status::NotImplemented | Status::Error => {
                probed
            }
        }
    }
}

/// When a value ends, from the surest that tells it.
pub fn expiry(
    credential: &Credential,
    generation: Option<&Generation>,
    finding: Option<&Finding>,
) -> Option<Expiry> {
    let found = finding.and_then(|finding| finding.expiry);
    let given = generation.and_then(|one| {
        Some(Expiry {
            at: one.expires_at?,
            // What an issuer made for us it told the end of; else a command did.
            from: match one.minted {
                Some(_) => Provenance::Body,
                None => Provenance::Source,
            },
        })
    });
    let declared = credential.ends_at.map(|at| Expiry {
        at,
        from: Provenance::Declared,
    });
    found.or(given).or(declared)
}

/// How much earlier than others this token is renewed: the same whenever it is asked, and another on each
/// host, whose ids differ.
fn jitter(credential: &Credential, generation: &Generation) -> policy::Jitter {
    let seed = u64::from_str_radix(credential.id.as_str(), 16).unwrap_or_default();
    policy::Jitter::draw(retry::derive(seed, generation.number))
}

/// Whether it was obtained by a clock that was ahead, and was put back since.
fn is_ahead(generation: &Generation, now: Timestamp) -> bool {
    policy::skew(generation.obtained_at, now).is_err() && now < generation.obtained_at
}

/// When a new value is to be obtained: `rotate.before` before the end, else a fifth of the life before it.
fn renew_at(
    credential: &Credential,
    generation: &Generation,
    expiry: Option<Expiry>,
) -> Option<Timestamp> {
    if !credential.renews() {
        return None;
    }
    let ends = expiry?.at;
    if generation.minted.is_some() && credential.rotate.before.is_none() {
        let begun = generation.obtained_at;
        return Some(policy::due(begun, ends, jitter(credential, generation)));
    }
    let life = ends.seconds_since(generation.obtained_at).max(0);
    let before = credential.rotate.before.map_or(life / 5, |before| {
        // A life that is shorter than that would be due as soon as it begins.
        before.signed().min(life / 2)
    });
    Some(ends.plus_seconds(-before))
}

impl Facts {
    /// What is known of a credential at an instant.
    pub fn of(
        credential: &Credential,
        record: &Record,
        noted: Option<&Noted>,
        fingerprint: Option<Fingerprint>,
        now: Timestamp,
    ) -> Self {
        let current = record.current();
        let failed = noted
            .filter(|noted| Some(noted.generation) == current.map(|one| one.number))
            .and_then(|noted| noted.failed.clone());
        let noted = noted.filter(|noted| {
            Some(noted.generation) == current.map(|one| one.number)
                && noted.url == super::issuer::resolved_url(credential)
        });
        let finding = noted.map(|noted| &noted.finding);
        let expiry = expiry(credential, current, finding);
        let renew_at = match current {
            // What was told of its end was told by a clock that is not believed any more.
            Some(one) if is_ahead(one, now) && credential.renews_for_runs() => expiry.map(|_| now),
            current => current.and_then(|one| renew_at(credential, one, expiry)),
        };
        let dead = finding.is_some_and(|finding| finding.status.is_dead());
        let fatal = |issuer: &Issuer| issuer.loss() == Loss::Fatal;
        let told = record.reload.is_empty();
        let ends_tokens = credential.issuer.as_ref().is_none_or(Issuer::ends_tokens);
        let due = if !credential.renews() {
            None
        } else if record.living_pending(now).is_some() {
            Some(Due::Pending)
        } else if record.intent.is_some() && credential.issuer.as_ref().is_some_and(fatal) {
            Some(Due::Lost)
        } else if record.asked {
            Some(Due::Asked)
        } else if dead && !credential.source.renews() {
            // It signs its own renewal, and is taken no more.
            None
        } else if dead {
            Some(Due::Dead)
        } else if renew_at.is_some_and(|at| at <= now) {
            Some(Due::Ends)
        } else if record.retired(now).next().is_some() {
            Some(Due::Revoke)
        } else {
            None
        };
        let due = due.or((!told).then_some(Due::Reload));
        Self {
            generation: current.map_or(0, |one| one.number),
            fingerprint,
            obtained_at: current.map(|one| one.obtained_at),
            expiry,
            renew_at,
            revoke_at: record.next_to_end(now).filter(|_| ends_tokens),
            due,
            finding: finding.cloned(),
            setback: (failed.filter(|_| due.is_some())).map(Setback::of),
        }
    }

    /// The same with what is known of its issuer: why the last try brought no value, where one is
    /// wanted, and that it is not asked for any, where its breaker is open.
    #[must_use]
    pub fn and(mut self, of_issuer: Option<Setback>) -> Self {
        let is_wanted = self.due.is_some() || self.generation == 0;
        let counts = |setback: &Setback| is_wanted || setback.is_open;
        let counting = of_issuer.filter(counts);
        self.setback = match self.setback.take() {
            Some(own) => Some(own.or_later(counting)),
            None => counting,
        };
        self
    }

    /// Whether the value in use can be used at `now`, as far as is known.
    pub fn serves(&self, now: Timestamp) -> bool {
        self.generation != 0
            && !(self.finding.as_ref()).is_some_and(|finding| finding.status.is_dead())
            && self
                .expiry
                .is_none_or(|expiry| self.by_issuer(now) < expiry.at)
    }

    /// Whether there is a value, and it cannot be used any more.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.generation != 0 && !self.serves(now)
    }

    /// How far our clock and the issuer's were apart when it was asked, if they were too far.
    pub fn skewed(&self) -> Option<policy::Skewed> {
        skewed(self.finding.as_ref()?)
    }

    /// An instant of ours as the issuer has it: see [`by_issuer`].
    pub(super) fn by_issuer(&self, now: Timestamp) -> Timestamp {
        (self.finding.as_ref()).map_or(now, |finding| by_issuer(finding, now))
    }

    /// The scopes that are asked for and that its issuer does not list.
    pub fn missing_scopes<'w>(&self, credential: &'w Credential) -> Vec<&'w str> {
        let finding = self.finding.as_ref();
        finding.map_or_else(Vec::new, |finding| finding.missing(&credential.scopes))
    }

    /// How it stands, in one of the words that a list and a doctor have.
    pub fn standing(&self, credential: &Credential, now: Timestamp) -> Standing {
        let now = self.by_issuer(now);
        if self.generation == 0 {
            return Standing::Missing;
        }
        if let Some(status) = self.finding.as_ref().map(|finding| finding.status)
            && status.is_dead()
        {
            return Standing::Dead(status);
        }
        // What is renewed in time is no news.
        let is_renewed = self.renew_at.is_some_and(|at| now < at);
        let warned_of = now.plus_seconds(credential.warn.signed());
        match self.expiry {
            Some(expiry) if expiry.at <= now => Standing::Dead(Status::Expired),
            Some(expiry) if !is_renewed && expiry.at <= warned_of => Standing::Expiring,
            Some(_) | None if !self.missing_scopes(credential).is_empty() => Standing::UnderScoped,
            Some(_) | None => Standing::Provisioned,
        }
    }
}

/// How far our clock and the issuer's were apart when it was asked, if they were too far.
pub fn skewed(finding: &Finding) -> Option<policy::Skewed> {
    policy::skew(finding.issuer_time?, finding.probed_at).err()
}

/// An instant of ours as the issuer has it, whose clock decides when a token ends: the same but where
/// the two are too far apart.
pub fn by_issuer(finding: &Finding, now: Timestamp) -> Timestamp {
    skewed(finding).map_or(now, |apart| {
        now.plus_seconds(apart.issuer.seconds_since(apart.ours))
    })
}

/// How a credential stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is a value, and nothing speaks against it.
    Provisioned,
    /// It ends soon.
    Expiring,
    /// Its issuer takes it, and it may do less than is asked for.
    UnderScoped,
    /// There is none.
    Missing,
    /// It is not taken any more.
    Dead(Status),
}

/// An instant to the second, and how far away it is.
pub fn when(now: Timestamp, at: Timestamp) -> String {
    format!("{} ({})", to_second(at), away(now, at))
}

/// That a value ends, or has ended, when that is, and who says so: `ends … (in 9 days, says the spec)`.
pub fn ends(now: Timestamp, expiry: Expiry) -> String {
    let verb = if expiry.at <= now { "ended" } else { "ends" };
    let (at, away) = (to_second(expiry.at), away(now, expiry.at));
    format!("{verb} {at} ({away}, says {})", told_by(expiry.from))
}

/// An instant as short as it is clear: `11:00 UTC` today, `Wed 02:30 UTC` within two days, else its date.
pub fn shortly(now: Timestamp, at: Timestamp) -> String {
    let is_far = at.seconds_since(now).unsigned_abs() >= 2 * 86_400;
    let is_today = at.utc().date_naive() == now.utc().date_naive();
    let format = match (is_far, is_today) {
        (true, _) => "%Y-%m-%d",
        (false, true) => "%H:%M UTC",
        (false, false) => "%a %H:%M UTC",
    };
    at.utc().format(format).to_string()
}

/// That a value ends, or has ended, as short, with who says so in a word: `ends 2026-05-01, in 84 days (spec)`.
pub fn ends_shortly(now: Timestamp, expiry: Expiry) -> String {
    let verb = if expiry.at <= now { "ended" } else { "ends" };
    let teller = match expiry.from {
        Provenance::Header | Provenance::Body => "issuer",
        Provenance::Source => "source",
        Provenance::Jwt => "token",
        Provenance::Certificate => "certificate",
        Provenance::Declared => "spec",
    };
    let (at, away) = (shortly(now, expiry.at), away(now, expiry.at));
    format!("{verb} {at}, {away} ({teller})")
}

/// What a reader needs of an instant.
pub fn to_second(at: Timestamp) -> Timestamp {
    let millis = at.millis();
    Timestamp::from_millis(millis - millis.rem_euclid(1000))
}

/// How far away an instant is, in the largest unit that tells it.
pub fn away(now: Timestamp, at: Timestamp) -> String {
    let seconds = at.seconds_since(now);
    let (count, unit) = match seconds.unsigned_abs() {
        s if s >= 2 * 86_400 => (s / 86_400, "days"),
        s if s >= 2 * 3600 => (s / 3600, "hours"),
        s if s >= 120 => (s / 60, "minutes"),
        0 => return "now".to_owned(),
        1 => (1, "second"),
        s => (s, "seconds"),
    };
    if seconds >= 0 {
        format!("in {count} {unit}")
    } else {
        format!("{count} {unit} ago")
    }
}

/// Where an expiry is known from, for a reader.
pub const fn told_by(from: Provenance) -> &'static str {
    match from {
        Provenance::Header | Provenance::Body => "the issuer's answer",
        Provenance::Source => "its source",
        Provenance::Jwt => "the token itself",
        Provenance::Certificate => "the certificate",
        Provenance::Declared => "the spec",
    }
}
