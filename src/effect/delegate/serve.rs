//! The user's side: gives up all other rights, then does what it is asked until nobody asks any more.

use std::{
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use nix::unistd;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::wire::{self, BusAnswer, BusAsk, Bytes, Fault, FileAnswer, FileAsk, Hello, WireSaid};
use crate::{
    effect::{
        dbus::{Manager, UnitResult, Whose},
        disk::{Disk, Durability, RealDisk},
        process,
        user::{self, Account},
    },
    error::{Code, Error, Result},
};

/// Becomes that user, and answers on standard input what is asked of files, on standard output what
/// is asked of the user's manager; returns when nobody asks any more.
///
/// # Errors
/// `NOT_PERMITTED` where it cannot become the user; `USAGE` where these are no sockets.
pub async fn serve(name: &str) -> Result<()> {
    let not_by_hand = |error: io::Error| {
        Error::new(Code::Usage, "this is what lorectl calls itself").because(error)
    };
    let files = socket(std::io::stdin().as_fd().try_clone_to_owned()).map_err(not_by_hand)?;
    let bus = socket(std::io::stdout().as_fd().try_clone_to_owned()).map_err(not_by_hand)?;
    let mut files = tokio::net::UnixStream::from_std(files).map_err(not_by_hand)?;
    let mut bus = tokio::net::UnixStream::from_std(bus).map_err(not_by_hand)?;
    let broken = |error: io::Error| Error::new(Code::Io, "cannot answer").because(error);
    let account = match become_user(name) {
        Ok(account) => account,
        Err(error) => {
            let hello = Hello::Failed(error.chain());
            write(&mut files, &hello).await.map_err(broken)?;
            return Err(error);
        }
    };
    let uid = account.owner.uid;
    write(&mut files, &Hello::Ready { uid })
        .await
        .map_err(broken)?;
    let ended = tokio::select! {
        ended = answer_files(&mut files) => ended,
        ended = answer_bus(&mut bus, account) => ended,
    };
    ended.map_err(broken)
}

fn socket(fd: io::Result<OwnedFd>) -> io::Result<UnixStream> {
    let socket = UnixStream::from(fd?);
    socket.set_nonblocking(true)?;
    // What is no socket has no peer.
    socket.peer_addr()?;
    Ok(socket)
}

/// The user's, for good, and of no terminal: one that the user could reach through us would take what
/// is typed into it for its owner's.
fn become_user(name: &str) -> Result<Account> {
    let found = user::by_name(name)?;
    let account = found.ok_or_else(|| {
        let message = format!("there is no user `{name}` on this host");
        Error::new(Code::NotPermitted, message)
    })?;
    let refused = |error: io::Error| {
        let message = format!("cannot become the user `{name}`");
        Error::new(Code::NotPermitted, message).because(error)
    };
    // Who leads a session already has none of ours.
    let _ = unistd::setsid();
    process::become_unseen(&account).map_err(refused)?;
    Ok(account)
}

async fn read<T: DeserializeOwned>(stream: &mut tokio::net::UnixStream) -> io::Result<Option<T>> {
    let length = match stream.read_u32().await {
        Ok(length) => wire::length(length)?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    wire::unpack(&frame).map(Some)
}

async fn write<T: Serialize>(stream: &mut tokio::net::UnixStream, value: &T) -> io::Result<()> {
    stream.write_all(&wire::pack(value)?).await
}

pub(super) async fn answer_files(stream: &mut tokio::net::UnixStream) -> io::Result<()> {
    while let Some(ask) = read::<FileAsk>(stream).await? {
        let answer = touch(ask).unwrap_or_else(|error| FileAnswer::from(&error));
        let frame = wire::pack(&answer).or_else(|error| wire::pack(&FileAnswer::from(&error)))?;
        stream.write_all(&frame).await?;
    }
    Ok(())
}

const fn durability(synced: bool) -> Durability {
    if synced {
        Durability::Now
    } else {
        Durability::Batch
    }
}

fn touch(ask: FileAsk) -> io::Result<FileAnswer> {
    let disk = RealDisk;
    let done = |()| FileAnswer::Done;
    Ok(match ask {
        FileAsk::Read { path, limit } => match disk.read(&path.into_path()?, limit)? {
            None => FileAnswer::Absent,
            Some(read) => FileAnswer::File {
                bytes: Bytes::from(read.bytes.as_slice()),
                mode: read.mode,
                owner: read.owner,
                modified: read.modified.millis(),
            },
        },
        FileAsk::Stat { path } => match disk.stat(&path.into_path()?)? {
            None => FileAnswer::Absent,
            Some(stat) => FileAnswer::Stat {
                kind: stat.kind,
                mode: stat.mode,
                owner: stat.owner,
                modified: stat.modified.millis(),
                size: stat.size,
            },
        },
        FileAsk::Write {
            path,
            bytes,
            mode,
            owner,
            synced,
        } => {
            let (path, bytes) = (path.into_path()?, bytes.into_vec()?);
            done(disk.write(&path, &bytes, mode, owner, durability(synced))?)
        }
        FileAsk::Append {
            path,
            bytes,
            mode,
            synced,
        } => {
            let (path, bytes) = (path.into_path()?, bytes.into_vec()?);
            done(disk.append(&path, &bytes, mode, durability(synced))?)
        }
        FileAsk::MakeDir { path, mode, owner } => {
            done(disk.make_dir(&path.into_path()?, mode, owner)?)
        }
        FileAsk::List { path, behind_links } => {
            let path = path.into_path()?;
            FileAnswer::Entries(if behind_links {
                disk.list_behind_links(&path)?
            } else {
                disk.list(&path)?
            })
        }
        FileAsk::Link { target, path } => {
            done(disk.link(&target.into_path()?, &path.into_path()?)?)
        }
        FileAsk::ReadLink { path } => found(disk.read_link(&path.into_path()?)?),
        FileAsk::Resolve { path } => found(disk.resolve(&path.into_path()?)?),
        FileAsk::Remove { path } => FileAnswer::Was(disk.remove(&path.into_path()?)?),
        FileAsk::RemoveDir { path } => FileAnswer::Was(disk.remove_dir(&path.into_path()?)?),
        FileAsk::RemoveTree { path } => FileAnswer::Was(disk.remove_tree(&path.into_path()?)?),
        FileAsk::SyncFs { path } => done(disk.sync_fs(&path.into_path()?)?),
    })
}

fn found(path: Option<std::path::PathBuf>) -> FileAnswer {
    path.map_or(FileAnswer::Absent, |path| {
        FileAnswer::Path(path.as_path().into())
    })
}

async fn answer_bus(stream: &mut tokio::net::UnixStream, account: Account) -> io::Result<()> {
    let manager = Manager::new(Whose::User {
        uid: account.owner.uid,
        name: account.name,
    });
    while let Some(asked) = read::<BusAsk>(stream).await? {
        let answer = ask(&manager, asked)
            .await
            .unwrap_or_else(|error| BusAnswer::Failed(Fault::from(&error)));
        write(stream, &answer).await?;
    }
    Ok(())
}

async fn ask(manager: &Manager, ask: BusAsk) -> Result<BusAnswer> {
    let results = |results: Vec<UnitResult>| {
        BusAnswer::Results(results.into_iter().map(std::result::Result::err).collect())
    };
    Ok(match ask {
        BusAsk::States { names } => {
            let states = manager.states(&names).await?;
            BusAnswer::States(states.into_iter().map(Into::into).collect())
        }
        BusAsk::UnitsReadAt => {
            let read_at = manager.units_read_at().await?;
            BusAnswer::ReadAt(read_at.map(crate::id::Timestamp::millis))
        }
        BusAsk::ExitStatus { service } => {
            BusAnswer::ExitStatus(manager.exit_status(&service).await?)
        }
        BusAsk::Reload => {
            manager.reload().await?;
            BusAnswer::Done
        }
        BusAsk::Start { names } => results(manager.start(&names).await?),
        BusAsk::Run { names, patience_ms } => {
            let patience = Duration::from_millis(patience_ms);
            results(manager.run(&names, patience).await?)
        }
        BusAsk::Stop { names } => results(manager.stop(&names).await?),
        BusAsk::ResetFailed { names } => {
            manager.reset_failed(&names).await?;
            BusAnswer::Done
        }
        BusAsk::Listen {
            argv,
            env,
            patience_ms,
        } => {
            let said = listen(argv, env, Duration::from_millis(patience_ms)).await;
            BusAnswer::Said(
                said.map_err(|error| Error::new(Code::Io, "cannot run a command").because(error))?,
            )
        }
    })
}

async fn listen(
    argv: Vec<Bytes>,
    env: Vec<(String, Bytes)>,
    patience: Duration,
) -> io::Result<WireSaid> {
    let argv = argv.into_iter().map(Bytes::into_os);
    let argv = argv.collect::<io::Result<Vec<_>>>()?;
    let mut owned = Vec::with_capacity(env.len());
    for (name, value) in env {
        owned.push((name, value.into_os()?));
    }
    let env: Vec<_> = owned
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    match process::listen(&argv, &env, patience).await {
        Ok(said) => Ok(said.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(WireSaid::NotFound),
        Err(error) => Err(error),
    }
}
