//! Writing a value to where it is delivered, and telling what is there.

use std::{path::Path, time::Duration};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};

use crate::{
    effect::{
        disk::{Disk, Durability, EntryKind, ReadFile, Stat},
        lock::Lock,
    },
    error::{Code, Error, Result},
    resource::Owner,
};

use super::{
    definition::{Delivery, Target},
    env_file::{self, Ambiguous},
    image::{self, CURRENT, GENERATION, OTHER},
    record::Record,
    value, way,
};

/// The largest file of variables that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// What is found of a delivery.
#[derive(Debug, Default)]
pub struct There {
    /// In the words of its part; `None` where nothing is.
    pub part: Option<String>,
    /// What an apply leaves as it is, and should be known.
    pub note: Option<String>,
}

/// What stands at a place and is no file, in words. It is not ours, and nothing is done to it.
const fn obstacle(kind: EntryKind) -> Option<&'static str> {
    match kind {
        EntryKind::File => None,
        EntryKind::Link => Some("a symbolic link"),
        EntryKind::Dir => Some("a directory"),
        EntryKind::Special => Some("a device or a pipe"),
    }
}

/// What everyone may do with a file of that mode that only some should, if anything.
fn open_to_all(mode: u32) -> Option<String> {
    let what = match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (true, _) => "read",
        (false, true) => "written",
        (false, false) => return None,
    };
    Some(format!("can be {what} by everyone ({mode:04o})"))
}

/// What there is of a delivery.
pub fn look(disk: &dyn Disk, delivery: &Delivery, record: &Record) -> There {
    let path = delivery.to.path();
    let unread = |error: std::io::Error| There {
        part: Some(format!("cannot be read: {error}")),
        note: None,
    };
    match disk.stat(path) {
        Ok(None) => return There::default(),
        Ok(Some(stat)) => {
            if let Some(what) = obstacle(stat.kind) {
                return There {
                    part: Some(what.to_owned()),
                    note: Some(format!(
                        "{what} stands at {}, which lorectl did not make: it is left alone and never followed",
                        path.display()
                    )),
                };
            }
        }
        Err(error) => return unread(error),
    }
    let file = match disk.read(path, LARGEST) {
        Ok(Some(file)) => file,
        Ok(None) => return There::default(),
        Err(error) => return unread(error),
    };
    let found = match &delivery.to {
        Target::File(_) => record.find(&file.bytes),
        Target::EnvFile { name, .. } => match env_file::values(&file.bytes, name) {
            Ok(values) => match values.as_slice() {
                [] => return There::default(),
                [value] => record.find(value),
                // Which of them counts is the reader's choice.
                [_, _, ..] => None,
            },
            Err(why) => {
                return There {
                    part: Some(format!("cannot be told: {why}")),
                    note: None,
                };
            }
        },
    };
    let is_current = |number| record.current().is_some_and(|one| one.number == number);
    let content = match found {
        Some(one) if is_current(one.number) => CURRENT.to_owned(),
        Some(one) => format!("{GENERATION}{}", one.number),
        None => OTHER.to_owned(),
    };
    let mode = delivery.mode.map(|_| file.mode);
    let owner = delivery.owner.map(|_| file.owner);
    // Its mode is not ours to change, and the value in it is ours.
    let open = open_to_all(file.mode).filter(|_| delivery.mode.is_none() && found.is_some());
    There {
        part: Some(image::delivered(&content, mode, owner)),
        note: open.map(|open| {
            let shown = path.display();
            format!(
                "{shown} holds its value and {open}: `chmod o= {shown}`, or give the delivery a `mode`; no other value is put there"
            )
        }),
    }
}

/// What a delivery is to be, in the same words.
#[expect(clippy::unnecessary_wraps, reason = "compared with what is there")]
pub fn wanted(delivery: &Delivery) -> Option<String> {
    Some(image::delivered(CURRENT, delivery.mode, delivery.owner))
}

/// Whether a place holds anything but what it is to hold.
pub fn is_stale(disk: &dyn Disk, delivery: &Delivery, record: &Record) -> bool {
    look(disk, delivery, record).part != wanted(delivery)
}

/// How long another process may take with the files of a directory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps other projects from the same file of variables, of which each changes a line: it is read and
/// written whole. `None` for a file that holds one value.
///
/// # Errors
/// `LOCK_HELD` when it stays locked; what the system says.
pub async fn alone(target: &Target) -> Result<Option<Lock>> {
    let (Target::EnvFile { path, .. }, Some(dir)) = (target, target.path().parent()) else {
        return Ok(None);
    };
    match Lock::take_dir(dir, PATIENCE).await {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => {
            let message = format!("another process keeps {} locked", dir.display());
            Err(Error::new(Code::LockHeld, message).suggest("try again when it is done"))
        }
        // What is wrong with the place is said by who writes there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("lock the directory of", path, error)),
    }
}

/// What was at a place before a step, to be put back.
pub struct Before(Was);

/// What stands at a place.
enum Was {
    Nothing,
    File(ReadFile),
    /// Something that is no file, and so not ours.
    Other,
}

impl Drop for Before {
    fn drop(&mut self) {
        if let Was::File(file) = &mut self.0 {
            file.bytes.zeroize();
        }
    }
}

fn refused(target: &Target, code: Code, what: impl std::fmt::Display) -> Error {
    Error::new(code, format!("cannot deliver to {target}: {what}"))
}

/// That a file of variables cannot be edited, for who reads the error.
fn unclear(path: &Path, why: Ambiguous) -> Error {
    let shown = path.display();
    Error::new(Code::Conflict, format!("{shown} is not edited: {why}")).suggest(format!(
        "have each variable of {shown} in a line of its own, or deliver to a `file`"
    ))
}

/// Refuses a value that the readers of a place would take in different ways, or that not all of them may
/// see.
///
/// # Errors
/// `SPEC_INVALID` for that.
pub fn check_value(delivery: &Delivery, value: &SecretString) -> Result<()> {
    if let Target::EnvFile { .. } = delivery.to
        && !value.expose_secret().chars().all(env_file::plain)
    {
        let what =
            "the value holds characters that the readers of such files take in different ways";
        return Err(refused(&delivery.to, Code::SpecInvalid, what)
            .suggest("deliver it to a `file` of its own"));
    }
    if delivery.mode.is_some_and(|mode| mode & 0o004 != 0) && !value::is_public(value) {
        let what = "everyone on the host could read it, and it is not a certificate alone: a private key, or other text, is with it";
        return Err(refused(&delivery.to, Code::SpecInvalid, what).suggest(
            "write `mode = \"0640\"`, or deliver the certificate from a source of its own, that holds PEM blocks and no text around them",
        ));
    }
    Ok(())
}

/// Refuses a place to which nothing may be written, before anything is.
///
/// # Errors
/// What stands in the way.
pub fn check(disk: &dyn Disk, delivery: &Delivery) -> Result<()> {
    let path = delivery.to.path();
    let refused = |code, what: String| Err(refused(&delivery.to, code, what));
    way::check(disk, path)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let stat = disk
        .stat(dir)
        .map_err(|error| Error::io("look at", dir, error))?;
    match stat {
        None => {
            let what = format!("there is no directory {}", dir.display());
            return refused(Code::Io, what)
                .map_err(|error| error.suggest(format!("`mkdir -p {}`", dir.display())));
        }
        Some(stat) if stat.kind != EntryKind::Dir => {
            let what = format!("{} is not a directory", dir.display());
            return refused(Code::Conflict, what).map_err(|error| {
                error
                    .suggest("name a file in a directory, or move what stands there out of the way")
            });
        }
        Some(stat) => {
            if let Some(why) = unsafe_dir(disk.identity(), delivery.owner, &stat) {
                let what = format!("{} {why}, who could put a link there", dir.display());
                return refused(Code::Conflict, what).map_err(|error| {
                    error.suggest("name a directory that only root, who applies or the `owner` of the delivery can change")
                });
            }
        }
    }
    let there = disk
        .stat(path)
        .map_err(|error| Error::io("look at", path, error))?;
    let Some(stat) = there else { return Ok(()) };
    if let Some(what) = obstacle(stat.kind) {
        let help = format!(
            "look at it, then move it away: `mv {0} {0}.old`",
            path.display()
        );
        return refused(Code::Conflict, format!("it is {what}"))
            .map_err(|error| error.suggest(help));
    }
    if delivery.mode.is_none()
        && let Some(open) = open_to_all(stat.mode)
    {
        let help = format!("`chmod o= {}`, or give it a `mode`", path.display());
        return refused(Code::Conflict, format!("it {open}")).map_err(|error| error.suggest(help));
    }
    if let Target::EnvFile { name, .. } = &delivery.to
        && let Some(file) = (disk.read(path, LARGEST)).map_err(|e| Error::io("read", path, e))?
    {
        env_file::takes(&file.bytes, name).map_err(|why| unclear(path, why))?;
    }
    Ok(())
}

/// Who else may change the entries of a directory, if someone may.
fn unsafe_dir(own: Owner, owner: Option<Owner>, dir: &Stat) -> Option<&'static str> {
    let trusted = [Some(0), Some(own.uid), owner.map(|owner| owner.uid)];
    if !trusted.contains(&Some(dir.owner.uid)) {
        return Some("belongs to another user");
    }
    // Under a sticky directory each may change only what is their own.
    (dir.mode & 0o002 != 0 && dir.mode & 0o1000 == 0).then_some("can be written by anyone")
}

/// What is at a place now.
///
/// # Errors
/// What the disk says.
pub fn before(disk: &dyn Disk, target: &Target) -> Result<Before> {
    let path = target.path();
    let stat = disk.stat(path);
    let stat = stat.map_err(|error| Error::io("look at", path, error))?;
    if stat.is_some_and(|stat| obstacle(stat.kind).is_some()) {
        return Ok(Before(Was::Other));
    }
    let read = disk.read(path, LARGEST);
    let file = read.map_err(|error| Error::io("read", path, error))?;
    Ok(Before(file.map_or(Was::Nothing, Was::File)))
}

impl Before {
    /// The bytes that a delivery replaces and that no generation of ours is.
    pub fn foreign(&self, target: &Target, record: &Record) -> Vec<&[u8]> {
        let Was::File(file) = &self.0 else {
            return Vec::new();
        };
        let mut all = match target {
            Target::File(_) => vec![file.bytes.as_slice()],
            // Of what cannot be told, nothing is replaced.
            Target::EnvFile { name, .. } => env_file::values(&file.bytes, name).unwrap_or_default(),
        };
        all.retain(|bytes| record.find(bytes).is_none());
        all
    }
}

/// Delivers a value.
///
/// # Errors
/// What the disk says; then what was there is still there.
pub fn put(disk: &dyn Disk, delivery: &Delivery, value: &SecretString) -> Result<()> {
    let path = delivery.to.path();
    way::check(disk, path)?;
    let failed = |error| Error::io("write", path, error);
    match &delivery.to {
        Target::File(_) => {
            let mode = delivery.mode.unwrap_or(super::spec::MODE);
            let bytes = value.expose_secret().as_bytes();
            disk.write(path, bytes, mode, delivery.owner, Durability::Now)
                .map_err(failed)
        }
        Target::EnvFile { name, .. } => {
            let file = disk
                .read(path, LARGEST)
                .map_err(|error| Error::io("read", path, error))?;
            let owner = delivery.owner.or(file.as_ref().map(|file| file.owner));
            let mode = delivery.mode.or(file.as_ref().map(|file| file.mode));
            let old = file.map(|file| file.bytes).unwrap_or_default();
            let edited = env_file::with(&old, name, Some(value));
            let mut bytes = edited.map_err(|why| unclear(path, why))?;
            let mode = mode.unwrap_or(super::spec::MODE);
            let written = disk.write(path, &bytes, mode, owner, Durability::Now);
            bytes.zeroize();
            written.map_err(failed)
        }
    }
}

/// Takes a delivery away: the file, or its line and, where that was all, the file. What is no file is
/// not what was delivered, and stays.
///
/// # Errors
/// What the disk says.
pub fn take_away(disk: &dyn Disk, target: &Target) -> Result<()> {
    let path = target.path();
    way::check(disk, path)?;
    let stat = disk.stat(path);
    let stat = stat.map_err(|error| Error::io("look at", path, error))?;
    if stat.is_some_and(|stat| obstacle(stat.kind).is_some()) {
        return Ok(());
    }
    match target {
        Target::File(_) => disk
            .remove(path)
            .map(drop)
            .map_err(|error| Error::io("remove", path, error)),
        Target::EnvFile { name, .. } => {
            let read = disk.read(path, LARGEST);
            let Some(file) = read.map_err(|error| Error::io("read", path, error))? else {
                return Ok(());
            };
            let bytes = env_file::with(&file.bytes, name, None);
            let bytes = bytes.map_err(|why| unclear(path, why))?;
            if bytes == file.bytes {
                return Ok(());
            }
            let done = if bytes.is_empty() {
                disk.remove(path).map(drop)
            } else {
                disk.write(path, &bytes, file.mode, Some(file.owner), Durability::Now)
            };
            done.map_err(|error| Error::io("write", path, error))
        }
    }
}

/// Puts back what was at a place; whether it was anything else.
///
/// # Errors
/// What the disk says.
pub fn put_back(disk: &dyn Disk, target: &Target, before: &Before) -> Result<bool> {
    let path = target.path();
    let same =
        |a: &ReadFile, b: &ReadFile| (&a.bytes, a.mode, a.owner) == (&b.bytes, b.mode, b.owner);
    let file = match (&self::before(disk, target)?.0, &before.0) {
        // Nothing was written to what is no file; and where one is by now, what was written is gone.
        (_, Was::Other) | (Was::Nothing | Was::Other, Was::Nothing) => return Ok(false),
        (Was::File(there), Was::File(was)) if same(there, was) => return Ok(false),
        (Was::File(_), Was::Nothing) => return take_away(disk, target).map(|()| true),
        (Was::Other, Was::File(_)) => {
            let message = format!(
                "cannot put back {}: something that is no file was put there since",
                path.display()
            );
            return Err(Error::new(Code::Conflict, message)
                .suggest("look at what stands there and move it away, then `lorectl apply`"));
        }
        (Was::Nothing | Was::File(_), Was::File(was)) => was,
    };
    way::check(disk, path)?;
    let mut bytes = match target {
        Target::File(_) => file.bytes.clone(),
        Target::EnvFile { name, .. } => {
            let read = disk.read(path, LARGEST);
            let there = read.map_err(|error| Error::io("read", path, error))?;
            let there = there.map_or_else(|| file.bytes.clone(), |there| there.bytes);
            let failed = |why| unclear(path, why);
            let others = |bytes: &[u8]| env_file::with(bytes, name, None).map_err(failed);
            if others(&there)? == others(&file.bytes)? {
                file.bytes.clone()
            } else {
                // Others have changed their own lines since: of the old bytes, only ours go back.
                let old = env_file::own_lines(&file.bytes, name).map_err(failed)?;
                env_file::in_place_of(&there, name, (!old.is_empty()).then_some(old))
                    .map_err(failed)?
            }
        }
    };
    let written = disk.write(path, &bytes, file.mode, Some(file.owner), Durability::Now);
    bytes.zeroize();
    written
        .map_err(|error| Error::io("write", path, error))
        .map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::disk::RealDisk;

    #[test]
    fn what_is_put_back_is_what_was_there_to_the_byte() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("app.env");
        let old = b"# c\r\nexport TOKEN=\"old value\"\r\nTOKEN=dup\xff\r\nOTHER=1";
        let write = |bytes: &[u8]| {
            let written = RealDisk.write(&path, bytes, 0o640, None, Durability::Batch);
            written.unwrap();
        };
        let read = || RealDisk.read(&path, LARGEST).unwrap().unwrap().bytes;
        write(old);
        let to = Target::EnvFile {
            path: path.clone(),
            name: "TOKEN".to_owned(),
        };
        let delivery = Delivery {
            to: to.clone(),
            owner: None,
            mode: None,
            reload: None,
        };
        let was = before(&RealDisk, &to).unwrap();
        put(&RealDisk, &delivery, &SecretString::from("new")).unwrap();
        assert_eq!(read(), b"# c\r\nexport TOKEN=new\r\nOTHER=1");
        assert!(put_back(&RealDisk, &to, &was).unwrap());
        assert_eq!(read(), old);
        // Another line that someone has changed since stays as it is by now.
        put(&RealDisk, &delivery, &SecretString::from("new")).unwrap();
        write(b"# d\r\nexport TOKEN=new\r\nOTHER=2\n");
        put_back(&RealDisk, &to, &was).unwrap();
        let expected = b"# d\r\nexport TOKEN=\"old value\"\r\nTOKEN=dup\xff\r\nOTHER=2\n";
        assert_eq!(read(), expected);
    }
}
