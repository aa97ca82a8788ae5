//! `run.json`, read: all that a run knows of the spec.

use crate::{
    effect::{disk::Disk, process},
    error::{Code, Error, Result},
    id::{ResourceName, Timestamp},
    layout::Layout,
    service::definition::{RUN_VERSION, Service},
};

/// The largest `run.json` that is read.
const LIMIT: u64 = 1 << 20;

/// A definition and when it was written.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The definition.
    pub service: Service,
    /// When its file last changed, UTC.
    pub modified: Timestamp,
}

/// Reads the definition of a service.
///
/// # Errors
/// `NO_SUCH_RESOURCE` where there is none, `STATE_NEWER` for a newer version, `STATE_CORRUPT` for
/// what is no definition, `STATE_FOREIGN` for one of another name or project, `NOT_PERMITTED` where
/// root would run what another user may write.
pub fn load(disk: &dyn Disk, layout: &Layout, name: &ResourceName) -> Result<Loaded> {
    let path = layout.run_file(name);
    let read = disk
        .read(&path, LIMIT)
        .map_err(|error| Error::io("read", &path, error))?;
    let Some(file) = read else {
        let project = layout.project();
        return Err(Error::new(
            Code::NoSuchResource,
            format!("project `{project}` has no service `{name}` on this host"),
        )
        .suggest(
            "`lorectl service list` shows those there are; `lorectl apply` makes those of the spec",
        ));
    };
    if process::is_root() && (file.owner.uid != 0 || file.mode & 0o022 != 0) {
        return Err(Error::new(
            Code::NotPermitted,
            format!("{} can be written by others than root", path.display()),
        )
        .suggest("`lorectl apply` writes it anew"));
    }
    let service = parse(&file.bytes)
        .map_err(|error| error.suggest("`lorectl apply` writes it anew"))
        .map_err(|mut error| {
            error.message = format!("{}: {}", path.display(), error.message);
            error
        })?;
    if service.project != *layout.project() || service.name != *name {
        return Err(Error::new(
            Code::StateForeign,
            format!(
                "{} is of service `{}` of project `{}`",
                path.display(),
                service.name,
                service.project
            ),
        ));
    }
    Ok(Loaded {
        service,
        modified: file.modified,
    })
}

/// The definition in the bytes of a `run.json`.
///
/// # Errors
/// `STATE_NEWER` and `STATE_CORRUPT`, as [`load`].
pub fn parse(bytes: &[u8]) -> Result<Service> {
    #[derive(serde::Deserialize)]
    struct Version {
        run_version: u32,
    }
    let corrupt = |error: serde_json::Error| {
        Error::new(Code::StateCorrupt, "this is no definition of a service").because(error)
    };
    let version: Version = serde_json::from_slice(bytes).map_err(corrupt)?;
    if version.run_version > RUN_VERSION {
        return Err(Error::new(
            Code::StateNewer,
            format!(
                "its version is {}, and this lorectl reads up to {RUN_VERSION}",
                version.run_version
            ),
        ));
    }
    serde_json::from_slice(bytes).map_err(corrupt)
}
