//! Writing a value to where it is delivered, and telling what is there.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};

use crate::{
    effect::disk::{Disk, Durability, EntryKind, ReadFile, Stat},
    error::{Code, Error, Result},
    resource::Owner,
};

use super::{
    definition::{Delivery, Target},
    image::{self, CURRENT},
    record::Record,
    way,
};

/// The largest file of variables that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The characters of a value that every reader of a file of variables takes as they are.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.~+/=:,@%".contains(c)
}

/// What there is of a delivery, in the words of its part; `None` where nothing is.
pub fn look(disk: &dyn Disk, delivery: &Delivery, record: &Record) -> Option<String> {
    let path = delivery.to.path();
    let file = match disk.read(path, LARGEST) {
        Ok(Some(file)) => file,
        Ok(None) => return None,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let found = match &delivery.to {
        Target::File(_) => record.find(&file.bytes),
        Target::EnvFile { name, .. } => {
            let (at, value) = line(&file.bytes, name)?;
            debug_assert!(at < file.bytes.len());
            record.find(value)
        }
    };
    let is_current = |number| record.current().is_some_and(|one| one.number == number);
    let content = match found {
        Some(one) if is_current(one.number) => CURRENT.to_owned(),
        Some(one) => format!("generation {}", one.number),
        None => "another value".to_owned(),
    };
    let mode = delivery.mode.map(|_| file.mode);
    let owner = delivery.owner.map(|_| file.owner);
    Some(image::delivered(&content, mode, owner))
}

/// What a delivery is to be, in the same words.
#[expect(clippy::unnecessary_wraps, reason = "compared with what is there")]
pub fn wanted(delivery: &Delivery) -> Option<String> {
    Some(image::delivered(CURRENT, delivery.mode, delivery.owner))
}

/// Where the first line that sets a variable begins, and what it sets it to.
fn line<'b>(bytes: &'b [u8], name: &str) -> Option<(usize, &'b [u8])> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if let Some(value) = set_by(line, name) {
            return Some((at, value));
        }
        at += line.len();
    }
    None
}

/// What a line sets a variable to, without quotes around it.
fn set_by<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let line = line.trim_ascii();
    let line = line
        .strip_prefix(b"export ")
        .unwrap_or(line)
        .trim_ascii_start();
    let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let quoted = |quote: &[u8]| value.strip_prefix(quote)?.strip_suffix(quote);
    Some(quoted(b"\"").or_else(|| quoted(b"'")).unwrap_or(value))
}

/// A file of variables with one of them set, or taken out; what else is in it stays.
fn with(bytes: &[u8], name: &str, value: Option<&SecretString>) -> Vec<u8> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let there = lines.find(|line| set_by(line, name).is_some());
    // Who reads the file reads it as before: a shell that exports, a line's end as the others'.
    let export = there.is_some_and(|line| line.trim_ascii_start().starts_with(b"export "));
    let end = match there.or(bytes.split_inclusive(|byte| *byte == b'\n').next()) {
        Some(line) if line.ends_with(b"\r\n") => "\r\n",
        Some(_) | None => "\n",
    };
    let before = if export { "export " } else { "" };
    let own = value.map(|value| format!("{before}{name}={}{end}", value.expose_secret()));
    in_place_of(bytes, name, own.map(String::into_bytes))
}

/// A file of variables with these bytes in the place of the lines that set one.
fn in_place_of(bytes: &[u8], name: &str, mut own: Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 256);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if set_by(line, name).is_some() {
            out.extend(own.take().unwrap_or_default());
        } else {
            out.extend_from_slice(line);
        }
    }
    if let Some(own) = own {
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.extend(own);
    }
    out
}

/// What was at a place before a step, to be put back.
pub struct Before {
    file: Option<ReadFile>,
}

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(file) = &mut self.file {
            file.bytes.zeroize();
        }
    }
}

/// Refuses a place to which nothing may be written, before anything is.
///
/// # Errors
/// What stands in the way.
pub fn check(disk: &dyn Disk, delivery: &Delivery, value: &SecretString) -> Result<()> {
    let path = delivery.to.path();
    let refused = |code, what: String| {
        Err(Error::new(
            code,
            format!("cannot deliver to {}: {what}", delivery.to),
        ))
    };
    if let Target::EnvFile { .. } = delivery.to
        && !value.expose_secret().chars().all(plain)
    {
        let what =
            "the value holds characters that the readers of such files take in different ways";
        return refused(Code::SpecInvalid, what.to_owned())
            .map_err(|error: Error| error.suggest("deliver it to a `file` of its own"));
    }
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
            return refused(
                Code::Conflict,
                format!("{} is not a directory", dir.display()),
            );
        }
        Some(stat) => {
            if let Some(why) = unsafe_dir(disk.identity(), delivery.owner, &stat) {
                let what = format!("{} {why}, who could put a link there", dir.display());
                return refused(Code::Conflict, what);
            }
        }
    }
    let there = disk
        .stat(path)
        .map_err(|error| Error::io("look at", path, error))?;
    if let (Some(stat), None) = (there, delivery.mode)
        && stat.mode & 0o007 != 0
    {
        let what = format!("it can be read by everyone ({:04o})", stat.mode);
        return refused(Code::Conflict, what).map_err(|error| {
            error.suggest(format!(
                "`chmod o= {}`, or give it a `mode`",
                path.display()
            ))
        });
    }
    match there.map(|stat| stat.kind) {
        None | Some(EntryKind::File) => Ok(()),
        Some(EntryKind::Dir) => refused(Code::Conflict, "it is a directory".to_owned()),
        Some(EntryKind::Link) => refused(Code::Conflict, "it is a symbolic link".to_owned()),
        Some(EntryKind::Special) => refused(Code::Conflict, "it is a device or a pipe".to_owned()),
    }
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
    let read = disk.read(path, LARGEST);
    let file = read.map_err(|error| Error::io("read", path, error))?;
    Ok(Before { file })
}

impl Before {
    /// Whether nothing was there, or nothing that a delivery replaces.
    fn value(&self, target: &Target) -> Option<&[u8]> {
        let file = self.file.as_ref()?;
        match target {
            Target::File(_) => Some(&file.bytes),
            Target::EnvFile { name, .. } => Some(line(&file.bytes, name)?.1),
        }
    }

    /// The bytes that a delivery replaces and that no generation of ours is.
    pub fn foreign(&self, target: &Target, record: &Record) -> Option<&[u8]> {
        self.value(target)
            .filter(|bytes| record.find(bytes).is_none())
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
            let mut bytes = with(&old, name, Some(value));
            let mode = mode.unwrap_or(super::spec::MODE);
            let written = disk.write(path, &bytes, mode, owner, Durability::Now);
            bytes.zeroize();
            written.map_err(failed)
        }
    }
}

/// Takes a delivery away: the file, or its line and, where that was all, the file.
///
/// # Errors
/// What the disk says.
pub fn take_away(disk: &dyn Disk, target: &Target) -> Result<()> {
    let path = target.path();
    way::check(disk, path)?;
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
            let bytes = with(&file.bytes, name, None);
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
    match (&self::before(disk, target)?.file, &before.file) {
        (None, None) => return Ok(false),
        (Some(there), Some(was)) if same(there, was) => return Ok(false),
        (Some(_) | None, _) => {}
    }
    let Some(file) = &before.file else {
        return take_away(disk, target).map(|()| true);
    };
    way::check(disk, path)?;
    let mut bytes = match target {
        Target::File(_) => file.bytes.clone(),
        Target::EnvFile { name, .. } => {
            let read = disk.read(path, LARGEST);
            let there = read.map_err(|error| Error::io("read", path, error))?;
            let there = there.map_or_else(|| file.bytes.clone(), |there| there.bytes);
            let others = |bytes: &[u8]| with(bytes, name, None);
            if others(&there) == others(&file.bytes) {
                file.bytes.clone()
            } else {
                // Others have changed their own lines since: of the old bytes, only ours go back.
                let old = file.bytes.split_inclusive(|byte| *byte == b'\n');
                let old: Vec<u8> = (old.filter(|line| set_by(line, name).is_some()))
                    .flatten()
                    .copied()
                    .collect();
                in_place_of(&there, name, (!old.is_empty()).then_some(old))
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

    fn text(bytes: &[u8], value: Option<&str>) -> String {
        let value = value.map(|value| SecretString::from(value.to_owned()));
        String::from_utf8(with(bytes, "TOKEN", value.as_ref())).unwrap()
    }

    #[test]
    fn one_line_is_ours_and_the_rest_is_kept() {
        for (before, set, unset) in [
            ("", "TOKEN=new\n", ""),
            ("A=1", "A=1\nTOKEN=new\n", "A=1"),
            ("# x\nA=1\n", "# x\nA=1\nTOKEN=new\n", "# x\nA=1\n"),
            (
                "A=1\nTOKEN=old\nB=2\n",
                "A=1\nTOKEN=new\nB=2\n",
                "A=1\nB=2\n",
            ),
            ("export TOKEN='old'\nB=2", "export TOKEN=new\nB=2", "B=2"),
            ("A=1\r\nTOKEN=a\r\n", "A=1\r\nTOKEN=new\r\n", "A=1\r\n"),
            ("A=1\r\n", "A=1\r\nTOKEN=new\r\n", "A=1\r\n"),
            ("TOKEN=a\nTOKEN=b\n", "TOKEN=new\n", ""),
            (
                "TOKENS=x\nMY_TOKEN=y\n#TOKEN=z\n",
                "TOKENS=x\nMY_TOKEN=y\n#TOKEN=z\nTOKEN=new\n",
                "TOKENS=x\nMY_TOKEN=y\n#TOKEN=z\n",
            ),
        ] {
            assert_eq!(text(before.as_bytes(), Some("new")), set);
            assert_eq!(text(before.as_bytes(), None), unset);
        }
    }

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
