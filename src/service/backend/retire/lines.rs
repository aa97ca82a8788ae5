//! Lines of crontabs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use super::{Now, record::Prior};
use crate::{
    effect::{
        disk::{Disk, Durability, EntryKind, ReadFile},
        process::{self, End},
        user::Account,
    },
    error::{Code, Error, Result},
    service::adopt::{
        crontab::{self, Standing},
        id::{LineId, Table},
    },
};

/// The largest crontab that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// Where crons keep what users edit with `crontab -e`: Debian's and its kin, then cronie's.
const SPOOLS: [&str; 2] = ["/var/spool/cron/crontabs", "/var/spool/cron"];

/// How long crontab(1) may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The crontabs of this host.
pub struct Crontabs {
    disk: Rc<dyn Disk>,
    account: Account,
}

/// The entries of a directory, whoever keeps it behind a link.
///
/// # Errors
/// What the disk says.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, EntryKind)>> {
    let listed = disk.list_behind_links(dir);
    listed.map_err(|error| Error::io("list", dir, error))
}

/// The users who have a crontab of their own.
///
/// # Errors
/// What the disk says.
pub fn spooled(disk: &dyn Disk) -> Result<Vec<String>> {
    let mut users = std::collections::BTreeSet::new();
    for spool in SPOOLS {
        let entries = list(disk, Path::new(spool))?;
        let files = entries
            .into_iter()
            .filter(|(_, kind)| *kind == EntryKind::File);
        // What begins with a dot, or is being written, is nobody's.
        users.extend(
            files
                .map(|(name, _)| name)
                .filter(|name| !name.starts_with('.') && !name.starts_with("tmp.")),
        );
    }
    Ok(users.into_iter().collect())
}

/// Where a table may be.
pub(super) fn paths(table: &Table) -> Vec<PathBuf> {
    match table {
        Table::File(path) => vec![PathBuf::from(path)],
        Table::User(user) => SPOOLS.map(|spool| Path::new(spool).join(user)).into(),
    }
}

/// A crontab as it was read.
enum Read {
    File(PathBuf, ReadFile),
    /// By crontab(1), for a user who may not look into the spool.
    Told,
}

impl Crontabs {
    /// As `account` may read and change them.
    pub fn new(disk: Rc<dyn Disk>, account: Account) -> Self {
        Self { disk, account }
    }

    /// How a line stands.
    ///
    /// # Errors
    /// `CONFLICT` where its table is there without it: it may have been edited, and run on.
    pub(super) async fn look(&self, id: &LineId) -> Result<Now> {
        let Some((_, text)) = self.read(&id.table).await? else {
            return Ok(Now::Retired);
        };
        Ok(match crontab::standing(&text, id) {
            Standing::Live => {
                let line = text.lines().find(|line| id.is(line)).unwrap_or_default();
                let line = line.to_owned();
                Now::Live(Prior::Line { line }, "in place".to_owned())
            }
            Standing::Retired => Now::Retired,
            // It was cleared away, or never was here.
            Standing::Missing => Now::Gone,
        })
    }

    /// Comments a line out, for `who`.
    pub(super) async fn retire(&self, id: &LineId, who: &str) -> Result<()> {
        self.change(id, |text| crontab::retire(text, id, who)).await
    }

    /// Puts a line back as it was.
    pub(super) async fn put_back(&self, id: &LineId) -> Result<()> {
        self.change(id, |text| crontab::give_back(text, id)).await
    }

    async fn change(&self, id: &LineId, change: impl Fn(&str) -> String) -> Result<()> {
        let Some((read, text)) = self.read(&id.table).await? else {
            return Ok(());
        };
        let changed = change(&text);
        if changed == text {
            return Ok(());
        }
        match read {
            Read::File(path, file) => {
                // Whoever edits it at this instant is not overwritten.
                let again = self.disk.read(&path, LIMIT);
                let again = again.map_err(|error| Error::io("read", &path, error))?;
                if again.is_none_or(|again| again.bytes != file.bytes) {
                    let message = format!("{} is being edited", path.display());
                    return Err(Error::new(Code::Conflict, message).suggest("apply again"));
                }
                let bytes = changed.as_bytes();
                (self.disk)
                    .write(&path, bytes, file.mode, Some(file.owner), Durability::Now)
                    .map_err(|error| Error::io("write", &path, error))
            }
            Read::Told => self.crontab("-", changed.as_bytes()).await.map(drop),
        }
    }

    /// What a table says; `None` when there is none.
    ///
    /// # Errors
    /// Where it cannot be read, or is not UTF-8.
    pub async fn text(&self, table: &Table) -> Result<Option<String>> {
        Ok(self.read(table).await?.map(|(_, text)| text))
    }

    /// The table; `None` when there is none.
    async fn read(&self, table: &Table) -> Result<Option<(Read, String)>> {
        let path = match table {
            Table::File(path) => PathBuf::from(path),
            Table::User(_) if self.account.owner.uid != 0 => {
                let told = self.crontab("-l", b"").await?;
                return told
                    .map(|bytes| Ok((Read::Told, text_of(bytes, Path::new("crontab -l"))?)))
                    .transpose();
            }
            Table::User(user) => match self.spooled(user)? {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let error = |error| Error::io("read", &path, error);
        let Some(path) = self.disk.resolve(&path).map_err(error)? else {
            return Ok(None);
        };
        let Some(file) = self.disk.read(&path, LIMIT).map_err(error)? else {
            return Ok(None);
        };
        let text = text_of(file.bytes.clone(), &path)?;
        Ok(Some((Read::File(path, file), text)))
    }

    fn spooled(&self, user: &str) -> Result<Option<PathBuf>> {
        for spool in SPOOLS {
            let path = Path::new(spool).join(user);
            let stat = self.disk.stat(&path);
            let stat = stat.map_err(|error| Error::io("look at", &path, error))?;
            if stat.is_some_and(|stat| stat.kind == EntryKind::File) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Asks crontab(1), for the user's own table; `None` when there is no such program or table.
    async fn crontab(&self, how: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
        let failed = |why: String| Error::new(Code::Io, format!("`crontab {how}` failed: {why}"));
        for program in ["/usr/bin/crontab", "/bin/crontab"] {
            let argv = [OsString::from(program), OsString::from(how)];
            let env = [
                ("HOME", self.account.home.clone().into_os_string()),
                ("LOGNAME", OsString::from(&self.account.name)),
                ("PATH", OsString::from("/usr/bin:/bin")),
            ];
            match process::converse(&argv, &env, input, PATIENCE).await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error.to_string())),
                Ok(answered) if answered.end == End::Exited(0) => return Ok(Some(answered.output)),
                Ok(answered) if how == "-l" && answered.error_text.contains("no crontab for") => {
                    return Ok(None);
                }
                Ok(answered) => return Err(failed(answered.error_text.trim().to_owned())),
            }
        }
        Ok(None)
    }
}

fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("{} is not UTF-8, and is left alone", path.display());
        Error::new(Code::Conflict, message).because(error)
    })
}
