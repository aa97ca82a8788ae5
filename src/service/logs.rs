//! What the stages of a service printed: `data/logs/service.log` and the files before it.
//!
//! A line is `TIME STAGE SOURCE TEXT`; SOURCE is `out`, `err`, or `run` for what the runner says.
//! The text is as it was printed, escape sequences included: whoever shows it escapes it.

use std::{collections::VecDeque, io, path::PathBuf};

use serde::Serialize;

use crate::{
    effect::{
        disk::{Disk, Durability},
        process::Stream,
        untrusted::{Dir, ReadOnly},
    },
    id::{ResourceName, Timestamp},
    layout::Layout,
};

/// The file that is written.
pub const FILE: &str = "service.log";

/// From this length on the file is rotated: 10 MB.
const FULL: u64 = 10_000_000;

/// How many rotated files are kept, `service.log.1` the youngest.
const KEPT: usize = 5;

/// The first bytes of a run that are kept; what is beyond is left out, but for the last ones.
const HEAD: u64 = 8 << 20;

/// The last bytes of a run that are kept where the first were too many.
const TAIL: usize = 64 << 10;

/// A longer line is cut into several.
const LINE: usize = 8 << 10;

/// The most that is read to show the end of a log.
const READ: u64 = 16 << 20;

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The stage, on standard output.
    Out,
    /// The stage, on standard error.
    Err,
    /// The runner.
    Run,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Run => "run",
        }
    }
}

/// Writes the log of one run. It never fails: that it could not write, it tells at the end.
pub struct Writer<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    /// Bytes in the current file.
    size: u64,
    /// Bytes that this run has written.
    written: u64,
    /// The last of what was left out.
    tail: VecDeque<u8>,
    left_out: u64,
    /// Why a write failed, if one did; nothing is written after it.
    failure: Option<String>,
    partial: [(Source, Vec<u8>); 2],
}

impl<'a> Writer<'a> {
    /// Opens the log of a service; makes its directory where it is missing.
    pub fn open(disk: &'a dyn Disk, layout: &Layout, name: &ResourceName) -> Self {
        let dir = layout.logs(name);
        let failure = disk.make_dir(&dir, 0o700, None).err();
        Self {
            disk,
            size: length(&dir),
            dir,
            written: 0,
            tail: VecDeque::new(),
            left_out: 0,
            failure: failure.map(|error| error.to_string()),
            partial: [(Source::Out, Vec::new()), (Source::Err, Vec::new())],
        }
    }

    /// Writes a line of the runner's.
    pub fn say(&mut self, now: Timestamp, stage: &str, text: &str) {
        let mut bytes = Vec::new();
        for line in text.lines() {
            format_line(&mut bytes, now, stage, Source::Run, line.as_bytes());
        }
        self.append(&bytes);
    }

    /// Takes what a stage printed; whole lines are written, the rest is kept for the next call.
    pub fn output(&mut self, now: Timestamp, stage: &str, stream: Stream, bytes: &[u8]) {
        let [out, err] = &mut self.partial;
        let (source, partial) = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
        let mut formatted = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                Some(_) | None => (piece, false),
            };
            for text in text.chunks(LINE) {
                partial.extend_from_slice(text);
                if partial.len() >= LINE {
                    format_line(&mut formatted, now, stage, *source, partial);
                    partial.clear();
                }
            }
            if ends {
                format_line(&mut formatted, now, stage, *source, partial);
                partial.clear();
            }
        }
        self.append(&formatted);
    }

    /// Writes what a stage printed without ending the line.
    pub fn end_stage(&mut self, now: Timestamp, stage: &str) {
        let mut formatted = Vec::new();
        for (source, partial) in &mut self.partial {
            if !partial.is_empty() {
                format_line(&mut formatted, now, stage, *source, partial);
                partial.clear();
            }
        }
        self.append(&formatted);
    }

    /// Ends the log of a run; returns what went wrong with it, if anything did.
    pub fn finish(mut self, now: Timestamp) -> Option<String> {
        let kept: Vec<u8> = std::mem::take(&mut self.tail).into();
        let start = kept.iter().position(|byte| *byte == b'\n');
        let kept = start.map_or(&[][..], |at| kept.get(at + 1..).unwrap_or_default());
        let lost = self.left_out.saturating_sub(kept.len() as u64);
        if self.left_out > 0 {
            let note = format!("{lost} bytes of output are left out here");
            let mut bytes = Vec::new();
            format_line(&mut bytes, now, "-", Source::Run, note.as_bytes());
            bytes.extend_from_slice(kept);
            self.put(&bytes);
        }
        self.failure
    }

    fn append(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.written < HEAD {
            self.written += bytes.len() as u64;
            self.put(bytes);
            return;
        }
        self.left_out += bytes.len() as u64;
        let keep = bytes.get(bytes.len().saturating_sub(TAIL)..);
        self.tail.extend(keep.unwrap_or_default());
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        if self.size > 0 && self.size + bytes.len() as u64 > FULL {
            self.rotate();
        }
        let path = self.dir.join(FILE);
        match self.disk.append(&path, bytes, 0o600, Durability::Batch) {
            Ok(()) => self.size += bytes.len() as u64,
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    fn rotate(&mut self) {
        let rotated = || -> io::Result<()> {
            let dir = Dir::open(&self.dir)?.ok_or(io::ErrorKind::NotFound)?;
            for number in (1..KEPT).rev() {
                let (from, to) = (format!("{FILE}.{number}"), format!("{FILE}.{}", number + 1));
                match dir.rename(&from, &to) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            dir.rename(FILE, &format!("{FILE}.1"))
        }();
        match rotated {
            Ok(()) => self.size = 0,
            Err(error) => self.failure = Some(error.to_string()),
        }
    }
}

fn length(dir: &std::path::Path) -> u64 {
    let file = Dir::open(dir).and_then(|dir| dir.map_or(Ok(None), |dir| dir.file(FILE)));
    file.ok()
        .flatten()
        .and_then(|file| file.len().ok())
        .unwrap_or(0)
}

fn format_line(into: &mut Vec<u8>, now: Timestamp, stage: &str, source: Source, text: &[u8]) {
    into.extend_from_slice(format!("{now} {stage} {} ", source.as_str()).as_bytes());
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it was printed, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// By which stage; `-` where by none.
    pub stage: String,
    /// By whom.
    pub source: Source,
    /// What, unescaped; what is no UTF-8 is replaced.
    pub text: String,
}

impl Line {
    /// Reads a line; one that is not of the form is taken as text of the runner.
    pub fn parse(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line);
        let mut parts = line.splitn(4, ' ');
        let parsed = (|| {
            let time = parts.next()?.parse().ok()?;
            let stage = parts.next()?.to_owned();
            let source = match parts.next()? {
                "out" => Source::Out,
                "err" => Source::Err,
                "run" => Source::Run,
                _ => return None,
            };
            Some(Self {
                time: Some(time),
                stage,
                source,
                text: parts.next().unwrap_or_default().to_owned(),
            })
        })();
        parsed.unwrap_or_else(|| Self {
            time: None,
            stage: "-".to_owned(),
            source: Source::Run,
            text: line.into_owned(),
        })
    }
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tail {
    /// The current file.
    pub log_path: PathBuf,
    /// Whether there is one.
    pub exists: bool,
    /// Its length, without the files before it.
    pub size_bytes: u64,
    /// The last lines, oldest first.
    pub last_lines: Vec<Line>,
}

fn log_dir(layout: &Layout, name: &ResourceName) -> io::Result<Option<Dir>> {
    match Dir::open(&layout.data(name))? {
        Some(data) => data.dir("logs"),
        None => Ok(None),
    }
}

/// The name of the log's `number`-th file, the youngest first.
fn file_name(number: usize) -> String {
    match number {
        0 => FILE.to_owned(),
        _ => format!("{FILE}.{number}"),
    }
}

/// The last `count` lines of a service's log, from rotated files too; at most 16 MiB are read.
///
/// # Errors
/// What the system says, and links in the place of the directory or a file.
pub fn tail(layout: &Layout, name: &ResourceName, count: usize) -> io::Result<Tail> {
    let mut tail = Tail {
        log_path: layout.logs(name).join(FILE),
        exists: false,
        size_bytes: 0,
        last_lines: Vec::new(),
    };
    let Some(dir) = log_dir(layout, name)? else {
        return Ok(tail);
    };
    let mut budget = READ;
    let mut lines: VecDeque<Line> = VecDeque::new();
    for number in 0..=KEPT {
        let Some(file) = dir.file(&file_name(number))? else {
            break;
        };
        let size = file.len()?;
        if number == 0 {
            (tail.exists, tail.size_bytes) = (true, size);
        }
        for line in last_lines(&file, size, count - lines.len(), &mut budget)? {
            lines.push_front(line);
        }
        if lines.len() >= count || budget == 0 {
            break;
        }
    }
    tail.last_lines = lines.into();
    Ok(tail)
}

/// The last lines of a file, youngest first.
fn last_lines(file: &ReadOnly, size: u64, count: usize, budget: &mut u64) -> io::Result<Vec<Line>> {
    let mut window = (64 << 10).min(*budget);
    loop {
        let start = size.saturating_sub(window);
        let bytes = file.read_at(start, size - start)?;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let mut lines: Vec<&[u8]> = text.rsplit(|byte| *byte == b'\n').collect();
        if start > 0 {
            // The first line in the window may have begun before it.
            lines.pop();
        }
        if lines.len() >= count || start == 0 || window >= *budget {
            *budget = budget.saturating_sub(size - start);
            lines.truncate(count);
            if size == 0 {
                lines.clear();
            }
            return Ok(lines.into_iter().map(Line::parse).collect());
        }
        window = window.saturating_mul(4).min(*budget);
    }
}

/// Follows a log, across rotation.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    data: PathBuf,
    open: Option<(ReadOnly, u64)>,
    partial: Vec<u8>,
}

impl Follower {
    /// Begins at the end of the log as it is now.
    ///
    /// # Errors
    /// As [`tail`].
    pub fn open(layout: &Layout, name: &ResourceName) -> io::Result<Self> {
        let mut follower = Self {
            dir: layout.logs(name),
            data: layout.data(name),
            open: None,
            partial: Vec::new(),
        };
        if let Some(file) = follower.files()?.into_iter().next() {
            let end = file.len()?;
            follower.open = Some((file, end));
        }
        Ok(follower)
    }

    /// The files of the log, the youngest first.
    ///
    /// Looked at in this order, none is missed while others are rotated: one may be seen twice.
    fn files(&self) -> io::Result<Vec<ReadOnly>> {
        let mut files: Vec<ReadOnly> = Vec::new();
        let name = self.dir.file_name().and_then(|name| name.to_str());
        let Some(data) = Dir::open(&self.data)? else {
            return Ok(files);
        };
        let Some(dir) = data.dir(name.unwrap_or("logs"))? else {
            return Ok(files);
        };
        for number in 0..=KEPT {
            let Some(file) = dir.file(&file_name(number))? else {
                // While files are rotated there is no current one for a moment.
                if number == 0 {
                    continue;
                }
                break;
            };
            if let Some(last) = files.last()
                && last.inode()? == file.inode()?
            {
                continue;
            }
            files.push(file);
        }
        Ok(files)
    }

    /// The file that comes after the one that is read, if there is one by now.
    fn next(&self) -> io::Result<Option<ReadOnly>> {
        let mut files = self.files()?;
        let Some((held, at)) = &self.open else {
            return Ok(files.pop());
        };
        let inode = held.inode()?;
        let mut younger = None;
        for (number, file) in files.drain(..).enumerate() {
            if file.inode()? == inode {
                let cut = number == 0 && file.len()? < *at;
                return Ok(if cut { Some(file) } else { younger });
            }
            younger = Some(file);
        }
        // It was rotated away for good, and what is left is all younger.
        Ok(younger)
    }

    /// The lines that were added since the last call, at most about 1 MiB of them; to be called
    /// again at once while it gives any.
    ///
    /// # Errors
    /// As [`tail`].
    pub fn poll(&mut self) -> io::Result<Vec<Line>> {
        loop {
            if let Some(bytes) = self.more()? {
                return Ok(self.lines(&bytes));
            }
            let Some(next) = self.next()? else {
                return Ok(Vec::new());
            };
            // What came between the last read and the rotation; after it, nothing comes any more.
            if let Some(bytes) = self.more()? {
                return Ok(self.lines(&bytes));
            }
            self.open = Some((next, 0));
        }
    }

    /// What the file that is read has got since it was last read.
    fn more(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((file, at)) = &mut self.open else {
            return Ok(None);
        };
        let bytes = file.read_at(*at, 1 << 20)?;
        *at += bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn lines(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if let Some((b'\n', line)) = self.partial.split_last() {
                lines.push(Line::parse(line));
                self.partial.clear();
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at files")]

    use super::*;
    use crate::effect::disk::RealDisk;

    struct World {
        _dir: tempfile::TempDir,
        layout: Layout,
        name: ResourceName,
        now: Timestamp,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned(), "acme".parse().unwrap());
        let name: ResourceName = "sync".parse().unwrap();
        std::fs::create_dir_all(layout.data(&name)).unwrap();
        World {
            _dir: dir,
            layout,
            name,
            now: "2026-02-09T10:00:00Z".parse().unwrap(),
        }
    }

    impl World {
        fn writer(&self) -> Writer<'_> {
            Writer::open(&RealDisk, &self.layout, &self.name)
        }

        fn texts(&self, count: usize) -> Vec<String> {
            let tail = tail(&self.layout, &self.name, count).unwrap();
            tail.last_lines.into_iter().map(|line| line.text).collect()
        }
    }

    #[test]
    fn lines_carry_time_stage_and_stream() {
        let world = world();
        assert!(!tail(&world.layout, &world.name, 9).unwrap().exists);
        let mut log = world.writer();
        log.output(world.now, "issues", Stream::Out, b"one\ntw");
        log.output(world.now, "issues", Stream::Err, b"oh\xff \x1b[1mno\n");
        log.output(world.now, "issues", Stream::Out, b"o\n\nrest");
        log.end_stage(world.now, "issues");
        log.say(world.now, "issues", "it failed");
        assert_eq!(log.finish(world.now), None);
        let path = world.layout.logs(&world.name).join(FILE);
        let text = std::fs::read(path).unwrap();
        let expected: &[u8] = b"2026-02-09T10:00:00Z issues out one
2026-02-09T10:00:00Z issues err oh\xff \x1b[1mno
2026-02-09T10:00:00Z issues out two
2026-02-09T10:00:00Z issues out \n2026-02-09T10:00:00Z issues out rest
2026-02-09T10:00:00Z issues run it failed\n";
        assert_eq!(
            String::from_utf8_lossy(&text),
            String::from_utf8_lossy(expected)
        );
        assert_eq!(world.texts(3), ["", "rest", "it failed"]);
        let last = tail(&world.layout, &world.name, 1).unwrap();
        assert_eq!(last.last_lines[0].stage, "issues");
        assert_eq!(last.last_lines[0].source, Source::Run);
        assert_eq!(last.last_lines[0].time, Some(world.now));
    }

    #[test]
    fn a_flood_keeps_its_head_and_its_end() {
        let world = world();
        let mut log = world.writer();
        let chunk: Vec<u8> = b"0123456789abcde\n".repeat(1024);
        for _ in 0..(3 << 20) / 1024 {
            log.output(world.now, "s", Stream::Out, &chunk);
        }
        log.output(world.now, "s", Stream::Out, b"the end\n");
        assert_eq!(log.finish(world.now), None);
        let size = tail(&world.layout, &world.name, 0).unwrap().size_bytes;
        assert!(size < HEAD + 200_000, "{size}");
        let texts = world.texts(100_000);
        assert_eq!(texts.last().unwrap(), "the end");
        assert_eq!(texts.first().unwrap(), "0123456789abcde");
        let notes = texts.iter().filter(|text| text.contains("left out"));
        assert_eq!(notes.count(), 1);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let world = world();
        let mut log = world.writer();
        for _ in 0..40 {
            log.output(world.now, "s", Stream::Out, &[b'x'; 1000]);
        }
        assert!(log.partial[0].1.len() < LINE + 1000);
        log.finish(world.now);
        assert!(world.texts(100).iter().all(|text| text.len() < LINE + 1000));
    }

    #[test]
    fn files_are_rotated_and_read_as_one_and_followed() {
        let world = world();
        let mut follower = Follower::open(&world.layout, &world.name).unwrap();
        let mut seen = Vec::new();
        for run in 0..20 {
            let mut log = world.writer();
            for line in 0..400 {
                let text = format!("{run}/{line} {}", "x".repeat(9000));
                log.say(world.now, "-", &text);
                if line % 100 == 0 {
                    seen.extend(follower.poll().unwrap());
                }
            }
            assert_eq!(log.finish(world.now), None);
            loop {
                let lines = follower.poll().unwrap();
                if lines.is_empty() {
                    break;
                }
                seen.extend(lines);
            }
        }
        let dir = world.layout.logs(&world.name);
        let names = RealDisk.list(&dir).unwrap();
        assert_eq!(names.len(), 1 + KEPT);
        for (name, _) in names {
            assert!(std::fs::metadata(dir.join(name)).unwrap().len() <= FULL);
        }
        let first_words = |text: &str| text.split(' ').next().unwrap().to_owned();
        let texts: Vec<String> = world.texts(1500).iter().map(|t| first_words(t)).collect();
        assert_eq!(texts.len(), 1500);
        assert_eq!(texts.last().unwrap(), "19/399");
        assert_eq!(texts.first().unwrap(), "16/100");
        assert_eq!(seen.len(), 20 * 400, "none is lost in a rotation");
    }

    #[test]
    fn several_rotations_between_two_looks_lose_nothing() {
        let world = world();
        let write = |from: usize, to: usize| {
            for run in from..to {
                let mut log = world.writer();
                for line in 0..800 {
                    log.say(
                        world.now,
                        "-",
                        &format!("{run}/{line} {}", "x".repeat(9000)),
                    );
                }
                assert_eq!(log.finish(world.now), None);
            }
        };
        write(0, 1);
        let mut follower = Follower::open(&world.layout, &world.name).unwrap();
        let mut seen = || {
            let mut seen = Vec::new();
            loop {
                let lines = follower.poll().unwrap();
                if lines.is_empty() {
                    break;
                }
                seen.extend(lines.into_iter().map(|line| line.text));
            }
            seen
        };
        write(1, 5);
        let lines = seen();
        assert_eq!(lines.len(), 4 * 800);
        assert!(lines[0].starts_with("1/0 ") && lines[3199].starts_with("4/799 "));
        // More than are kept: the rest of the file that was read, then what is left of the others.
        write(5, 15);
        let dir = world.layout.logs(&world.name);
        let count = |name: &str| {
            std::fs::read_to_string(dir.join(name))
                .unwrap()
                .lines()
                .count()
        };
        let names = RealDisk.list(&dir).unwrap();
        let kept: usize = names.iter().map(|(name, _)| count(name)).sum();
        let lines = seen();
        assert!((kept..10 * 800).contains(&lines.len()));
        assert!(lines[0].starts_with("5/0 ") && lines[lines.len() - 1].starts_with("14/799 "));
    }

    #[test]
    fn a_linked_log_directory_is_not_followed() {
        let world = world();
        let outside = world.layout.root().join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join(FILE), "secret\n").unwrap();
        std::os::unix::fs::symlink(&outside, world.layout.logs(&world.name)).unwrap();
        assert!(tail(&world.layout, &world.name, 5).is_err());
        assert!(Follower::open(&world.layout, &world.name).is_err());
    }
}
