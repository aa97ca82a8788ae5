//! The path of this lorectl, and whether units may call it for years.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place that asks which program runs"
)]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::error::{Code, Error, Result};

/// The path of the running program, symbolic links resolved.
///
/// # Errors
/// `BINARY_UNSTABLE` when it was deleted or replaced since it was started; `IO` else.
pub fn current() -> Result<PathBuf> {
    let path = std::env::current_exe().map_err(|error| {
        Error::new(Code::Io, "cannot tell which program this is").because(error)
    })?;
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Error::new(
            Code::BinaryUnstable,
            format!("{} is gone since it was started", path.display()),
        )
        .because(error)
        .suggest("Run the installed lorectl.")),
    }
}

/// The path of the running program, where units of `uid` may call it: nobody but root and that
/// user can change it, and it is in no build tree.
///
/// # Errors
/// `BINARY_UNSTABLE` with the `install` command that helps; as [`current`] else.
pub fn stable_binary(uid: u32) -> Result<PathBuf> {
    let path = current()?;
    check(&path, uid)?;
    Ok(path)
}

/// Checks a path for [`stable_binary`].
///
/// # Errors
/// `BINARY_UNSTABLE` with what stands against it.
pub fn check(path: &Path, uid: u32) -> Result<()> {
    for dir in path.ancestors() {
        let meta = fs::symlink_metadata(dir).map_err(|error| {
            unstable(path, uid, &format!("{} cannot be read", dir.display())).because(error)
        })?;
        if meta.uid() != 0 && meta.uid() != uid {
            let why = format!("{} belongs to user id {}", dir.display(), meta.uid());
            return Err(unstable(path, uid, &why));
        }
        if meta.mode() & 0o022 != 0 {
            let why = format!("{} can be written by others", dir.display());
            return Err(unstable(path, uid, &why));
        }
        let built = |name: &str| fs::symlink_metadata(dir.join(name)).is_ok();
        if meta.is_dir() && (built("CACHEDIR.TAG") || built(".fingerprint")) {
            return Err(unstable(
                path,
                uid,
                &format!("{} is a build tree", dir.display()),
            ));
        }
    }
    Ok(())
}

fn unstable(path: &Path, uid: u32, why: &str) -> Error {
    let shown = path.display();
    let install = if uid == 0 {
        format!("install -m 0755 {shown} /usr/local/bin/lorectl")
    } else {
        format!("install -D -m 0755 {shown} ~/.local/bin/lorectl")
    };
    Error::new(
        Code::BinaryUnstable,
        format!("units cannot call {shown}: {why}"),
    )
    .suggest(format!("Run `{install}`, and apply with that one."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn whoami() -> u32 {
        nix::unistd::Uid::effective().as_raw()
    }

    #[test]
    fn a_build_tree_and_what_others_may_write_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("lorectl");
        fs::write(&path, "").unwrap();
        // The nearest reason is named, so what stands above the directory does not matter.
        let closed = |why: &str| {
            let error = check(&path, whoami()).unwrap_err();
            assert!(error.message.contains(why), "{}", error.message);
            assert!(error.suggestion.unwrap().contains("install "));
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        closed("can be written by others");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(base.path().join("CACHEDIR.TAG"), "").unwrap();
        closed("is a build tree");
    }

    #[test]
    fn a_program_of_the_system_is_fine() {
        assert!(check(&fs::canonicalize("/usr/bin/env").unwrap(), whoami()).is_ok());
    }
}
