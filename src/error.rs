//! What can go wrong, as the user meets it: one code, one exit status, one
//! explanation each, and a message that says what happened, where, and the
//! command that helps.

use std::fmt;

/// The exit status of a failed command. Success is 0; changes found under `--detailed-exitcode` are 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: it failed; all that is connected to the failure is as before.
    Failed,
    /// 3: refused; a person must act or approve.
    Refused,
    /// 4: it failed, and an undo failed, was impossible or was skipped.
    UndoFailed,
    /// 64: the command line is wrong.
    Usage,
    /// 65: the spec is bad, or the state is damaged or lost.
    Data,
    /// 69: a backend is unavailable.
    Unavailable,
    /// 70: a defect of lorectl itself.
    Internal,
    /// 75: later; what is in the way lifts with time.
    Later,
    /// 77: not permitted.
    NotPermitted,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Refused => 3,
            Self::UndoFailed => 4,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Later => 75,
            Self::NotPermitted => 77,
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $exit:ident, $explain:literal;)+) => {
        /// Every error code. `lorectl explain CODE` prints what [`Code::explain`] says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// All codes, in the order in which they are listed to a user.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as it is printed.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The exit status that the code ends a command with.
            pub const fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)+ }
            }

            /// What the code means and what to do, for `lorectl explain`.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$name => $explain,)+ }
            }
        }
    };
}

codes! {
    /// The spec cannot be read as one.
    SpecInvalid = "SPEC_INVALID", Data,
        "The spec has errors. Each is printed with its file, line and column, the line underlined, and the nearest valid word where one is near. Nothing was compared and nothing was changed.\n\nRun `lorectl validate` until it is silent; `lorectl schema` prints the JSON Schema that an editor can complete from.";
    /// There is no spec where one was looked for.
    SpecNotFound = "SPEC_NOT_FOUND", Data,
        "No spec was found. lorectl reads `lore.toml` in the current directory, or what `-f` names: a file, a directory (all its `*.toml`), or `-` for standard input.\n\nRun `lorectl init` for a first one.";
    /// `[hosts]` does not list this host.
    HostUnknown = "HOST_UNKNOWN", Data,
        "The spec has a `[hosts]` table that does not list this host. That is an error and never a deletion: a host that was renamed must not lose its jobs.\n\nAdd the host to `[hosts]`.";
    /// The spec asks for a newer lorectl.
    BinaryTooOld = "BINARY_TOO_OLD", Data,
        "`project.lorectl` in the spec asks for another version than this binary is. Install a version that satisfies it.";
    /// The spec asks for what this build has not.
    NotInThisBuild = "NOT_IN_THIS_BUILD", Unavailable,
        "The spec names a kind or a backend that this build of lorectl does not have. It is refused rather than skipped: what is skipped in silence is later missed.";
    /// The command line is wrong.
    Usage = "USAGE", Usage,
        "The command line is wrong. `lorectl COMMAND --help` says what is taken.";
    /// An address names nothing.
    NoSuchResource = "NO_SUCH_RESOURCE", Usage,
        "No resource has this address, neither in the spec nor in the state. `lorectl status` lists what there is.";
    /// The project cannot be told.
    ProjectUnknown = "PROJECT_UNKNOWN", Usage,
        "The command reads no spec and there is not exactly one project in the state directory. Name it with `--project`.";
    /// The state file is damaged.
    StateCorrupt = "STATE_CORRUPT", Data,
        "The state file, or the journal beside it, is not what lorectl wrote: truncated, edited or damaged. It is never read as empty, because an empty state would plan to make everything again.\n\nThe last ten states are kept in `backups/`, each verified when it was written. `lorectl state repair` shows and restores the newest good one.\n\nWhere the message names a file of a credential (`secrets/NAME/record.json`, or `seal.cred`, which opens what `store = \"systemd-creds\"` keeps), `state repair` does not mend it. Bring these files back, from one backup and on the host where they were written; or remove what the message says, and `lorectl apply` takes the value anew from its source. A token that only the store had is to be made anew by its issuer first. `lorectl doctor` names each credential that cannot be read.";
    /// The state is gone but its marks are not.
    StateLost = "STATE_LOST", Data,
        "There is no state file, but units on this host carry this project's mark. Planning would take them for another's.\n\n`lorectl state repair` rebuilds the state from the marks and each service's `run.json`.";
    /// The state was written by a newer lorectl.
    StateNewer = "STATE_NEWER", Data,
        "The state was written by a newer lorectl and was left untouched. Use a binary at least as new as the one that wrote it.";
    /// The state is of another host or user.
    StateForeign = "STATE_FOREIGN", Data,
        "The state file belongs to another project or lineage than the one asked for. It was left untouched.";
    /// A state is there already.
    StateExists = "STATE_EXISTS", Refused,
        "A state was to be imported where there is one, or where one was lost. Neither is given up without being asked to: what is applied here would be forgotten.\n\n`lorectl state list` shows what there is, `lorectl state repair` brings back a lost one, and `lorectl state import FILE --overwrite` puts the import in its place; the old state is kept in `backups/`.";
    /// Writing or reading failed.
    Io = "IO", Failed,
        "Reading or writing a file failed; the message names the file and the cause (a full disk, a failing one, what is no regular file). Nothing was left half-written: every write is to a temporary file that replaces the old one whole.";
    /// Another process holds the lock.
    LockHeld = "LOCK_HELD", Later,
        "Another lorectl holds the lock; the message says who, since when and from where. It is freed when that process ends, however it ends, so there is nothing to delete. Try again later.";
    /// Nobody said yes.
    NotApproved = "NOT_APPROVED", Refused,
        "Nothing was applied, because nobody approved it: without a terminal to ask on, `apply` wants `-y` or a plan file. With a plan file, what would change must be in it: each change that is not was listed, and nothing was done.\n\nWhat only drifted on the host since the file was made is no reason to refuse. It is left as it is and listed, and the rest goes on; `lorectl plan` shows it, for the next approval.\n\n`credential validate` ends so for a credential that was never applied and whose provider is asked with another credential's value too: that goes only where an apply has said.";
    /// `--deny` forbids an action.
    Denied = "DENIED", Refused,
        "The plan holds an action that `--deny` forbids. Nothing was changed.";
    /// A protected resource would be destroyed.
    Protected = "PROTECTED", Refused,
        "The plan would destroy or replace a resource that was applied with `protect = true`. To lift it, apply `protect = false` first; removing the block does not lift it.";
    /// Too much would be deleted.
    MassDeletion = "MASS_DELETION", Refused,
        "The plan deletes more than an edit usually does: a file of the spec is missing, the spec comes from another place than the last one, or more than a third of the project (three at least) would go. If that is meant, say `--allow-deletes`.";
    /// Another owner holds a name.
    Conflict = "CONFLICT", Refused,
        "Something on the host has the name that a resource needs, and does not carry this project's mark. lorectl never overwrites what it did not make. Rename one of the two, or remove the other by hand.";
    /// A hold that only a person lifts.
    Held = "HELD", Refused,
        "Everything that is to be done is held, and a person must act first. Each hold names its reason and what lifts it.\n\n`credential rotate` ends so for a credential whose source gives no new value when it is asked: a person puts one there.";
    /// A hold that time lifts.
    HeldForNow = "HELD_FOR_NOW", Later,
        "Everything that is to be done is held for now, and time lifts it. Each hold names the instant.";
    /// The plan file is no plan.
    PlanInvalid = "PLAN_INVALID", Data,
        "The plan file cannot be trusted as an approval: it is truncated, edited after it was made, of a newer format, writable by anyone, or somebody else's: neither root's, nor of whoever applies, nor of whoever called `sudo` to. Make it again with `lorectl plan --out`.";
    /// The plan file is of another host.
    PlanForeign = "PLAN_FOREIGN", Refused,
        "The plan file was made for another host, project or lineage. It approves nothing here.";
    /// Units would call a binary that is not safe to call.
    BinaryUnstable = "BINARY_UNSTABLE", Refused,
        "Units call lorectl by its path, for as long as they exist. A path that someone else can write to, or one in a build tree, would run that someone's code with the job's rights. Install the binary as the message says, and apply with the installed one.";
    /// The file is no snapshot.
    SnapshotInvalid = "SNAPSHOT_INVALID", Data,
        "The file that `--observed` names is no snapshot that can be believed: it is truncated, edited after it was made, too large, of a newer format, or something else. Nothing was planned. Make it again on the host with `lorectl observe --out FILE`.";
    /// The snapshot is of another host.
    SnapshotForeign = "SNAPSHOT_FOREIGN", Refused,
        "The snapshot is of another host or project than the plan is to be for. Nothing was planned: what is true of one host says nothing of another.";
    /// The snapshot is too old.
    SnapshotStale = "SNAPSHOT_STALE", Refused,
        "The snapshot is older than `--max-age` allows, or the clocks differ so much that its age cannot be told. Nothing was planned. Make it again on the host with `lorectl observe --out FILE`.";
    /// A backend does not answer.
    BackendUnavailable = "BACKEND_UNAVAILABLE", Unavailable,
        "A scheduler, issuer or router that the spec or the state names does not answer. What it holds is unknown, and unknown is never taken for gone.";
    /// The user has no systemd manager.
    UserManagerMissing = "USER_MANAGER_MISSING", Unavailable,
        "This user has no running systemd manager, so there is nothing to schedule with. `loginctl enable-linger USER` (as root) starts one now and at every boot.";
    /// The rights do not suffice.
    NotPermitted = "NOT_PERMITTED", NotPermitted,
        "This needs rights that the current user has not, or a place cannot be written by anybody: a mount that is read-only, a directory that is immutable. The message names what was tried.";
    /// Ctrl-C, or SIGTERM, where a person was asked.
    Interrupted = "INTERRUPTED", Failed,
        "The command was told to end (by Ctrl-C, or a signal) while it waited for something to be typed. Nothing was sent, stored or changed. (An interrupted apply ends with `APPLY_FAILED`, and puts back what it was at.)";
    /// Apply failed and put back what it had changed.
    ApplyFailed = "APPLY_FAILED", Failed,
        "A step failed. Everything connected to it is as it was before; what has no connection to it was applied and stays. `lorectl plan` shows what is left to do.";
    /// Apply failed, and so did an undo.
    UndoFailed = "UNDO_FAILED", UndoFailed,
        "A step failed, and something that had been changed could not be put back, or was left by `--on-failure stop`. The message names each. What is there now was recorded: `lorectl plan` shows the way on.";
    /// A run failed.
    RunFailed = "RUN_FAILED", Failed,
        "The service ran and failed. `lorectl service logs NAME` shows what it printed.";
    /// A run was skipped for now.
    RunSkipped = "RUN_SKIPPED", Later,
        "The service did not run, for a reason that time lifts: it is running already, backing off, or waiting for a lock.";
    /// A service is paused.
    ServicePaused = "SERVICE_PAUSED", Refused,
        "The service is paused and a person must resume it.";
    /// There is no value.
    CredentialMissing = "CREDENTIAL_MISSING", Failed,
        "A credential has no value, or its source gives none: a variable is not set, a file is not there or can be read by others, a command failed or took too long. The message names the source. Nothing was stored or delivered.\n\nA run whose credential has no value in the store fails with this code before its stage starts, and is tried again later; what brings the value back (`lorectl apply`, `lorectl reconcile`) is enough.";
    /// A value is none.
    TokenInvalid = "TOKEN_INVALID", NotPermitted,
        "What a source holds is no token: it is empty, over 64 KiB long, holds a line feed, or has not the form of its provider's. Nothing of it is shown, and nothing was stored.";
    /// A token has ended.
    TokenExpired = "TOKEN_EXPIRED", NotPermitted,
        "The token's end has come, as its issuer or the token itself says. A dead token is never stored. Have its issuer make another and put that where the credential comes from.";
    /// A token was ended.
    TokenRevoked = "TOKEN_REVOKED", NotPermitted,
        "Someone has revoked the token, as its issuer says. A dead token is never stored. Have its issuer make another and put that where the credential comes from.";
    /// A token is refused.
    TokenRejected = "TOKEN_REJECTED", NotPermitted,
        "The issuer refuses the token and does not say why: it may have expired, been revoked or been mistyped, or be another issuer's. Look at `base_url`, then have the issuer make another.";
    /// A token may do too little.
    TokenUnderScoped = "TOKEN_UNDER_SCOPED", NotPermitted,
        "The token is live, but lacks a scope that `scopes` asks for. A new one like that is not stored. Give it the scope, or ask for fewer.";
    /// An issuer failed of late.
    BreakerOpen = "BREAKER_OPEN", Later,
        "There is no value that serves, and its issuer failed so often of late that it is not asked before the instant in the message. Then one request is let through, which closes the breaker or not. A value that is still valid is always served, whatever the breaker says.";
    /// An issuer asks to be left alone.
    IssuerThrottled = "ISSUER_THROTTLED", Later,
        "The issuer answers that it was asked too often. That says nothing of the token. The message says when it may be asked again.";
    /// An issuer gives no answer.
    IssuerUnavailable = "ISSUER_UNAVAILABLE", Unavailable,
        "The issuer could not be asked, or its answer means nothing: it cannot be reached, took too long, or is not the service that the provider's table describes. Look at `base_url`.";
    /// A defect of lorectl.
    Internal = "INTERNAL", Internal,
        "lorectl met a state that it holds to be impossible. That is a defect: please report it with the command and the message.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error on its way to the user.
///
/// `message` says what happened and where, without its causes; those are in `source` and printed
/// by the view. `suggestion` is a sentence with the command that helps. Neither holds a secret.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure it is, and so the exit status.
    pub code: Code,
    /// What happened, and where.
    pub message: String,
    /// The command or edit that helps.
    pub suggestion: Option<String>,
    /// Each finding on its own, where there are several (spec errors, unapproved changes).
    pub details: Vec<String>,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything that can fail towards the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a cause.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            suggestion: None,
            details: Vec::new(),
            source: None,
        }
    }

    /// A failed read or write of `path`; `doing` completes "cannot …".
    pub fn io(doing: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = source.kind();
        let code = match kind {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::NotPermitted,
            _ => Code::Io,
        };
        let error = Self::new(code, format!("cannot {doing} {}", path.display())).because(source);
        match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => error.suggest(format!(
                "make room on the file system of {} and run the command again; what was there before is whole",
                path.parent().unwrap_or(path).display()
            )),
            ErrorKind::ReadOnlyFilesystem => error.suggest(format!(
                "`findmnt -T {}` shows the mount that is read-only; `mount -o remount,rw` makes it writable",
                path.parent().unwrap_or(path).display()
            )),
            _ => error,
        }
    }

    /// Adds the sentence that helps.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the single findings.
    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// The same once more, for another whom it stopped; the causes become part of its message.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            code: self.code,
            message: self.chain(),
            suggestion: self.suggestion.clone(),
            details: self.details.clone(),
            source: None,
        }
    }

    /// The message and each cause after it, on one line: for records that have no room for a chain.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The same with what helps after it.
    pub fn sentence(&self) -> String {
        match &self.suggestion {
            Some(help) => format!("{}; {help}", self.chain()),
            None => self.chain(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_spelled_once_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} is there twice");
            assert!(code.explain().len() > 40, "{code} is not explained");
            assert!(
                code.as_str()
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c == '_')
            );
        }
    }
}
