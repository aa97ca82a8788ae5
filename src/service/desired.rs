//! From a service's definition to what the host must hold of it.

use super::{
    definition::{Scheduler, Service},
    image,
    unit::{self, UnitContext},
};
use crate::{
    error::{Code, Error, Result},
    id::Digest,
    resource::{File, Image, Owner, Part},
};

/// Who owns what of a service. Its units are the applier's, but those in a user's manager: they are in
/// that user's home, and the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owners {
    /// Who applies: root, or the user. Owns units, directories and `run.json`.
    pub applier: Owner,
    /// Whom the service runs as; the same as the applier but for `user` of a root's service.
    pub runner: Owner,
}

/// Stands for the ids of a user whom only another host knows: `(uid_t) -1`, which belongs to nobody.
pub const KNOWN_AT_APPLY: Owner = Owner {
    uid: u32::MAX,
    gid: u32::MAX,
};

/// Another one whenever a file changes that has a part in what [`image`] makes of a definition.
const REVISION: u64 = fingerprint(&[
    include_bytes!("definition.rs"),
    include_bytes!("desired.rs"),
    include_bytes!("hardening.rs"),
    include_bytes!("image.rs"),
    include_bytes!("schedule.rs"),
    include_bytes!("schedule/calendar.rs"),
    include_bytes!("schedule/cron.rs"),
    include_bytes!("schedule/walk.rs"),
    include_bytes!("unit.rs"),
    include_bytes!("../id.rs"),
    include_bytes!("../layout.rs"),
]);

/// FNV-1a, which the compiler can work out; whoever could forge it could change the files.
const fn fingerprint(files: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut file = 0;
    while file < files.len() {
        let mut at = 0;
        while at < files[file].len() {
            hash = (hash ^ files[file][at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        file += 1;
    }
    hash
}

/// What makes images, with all that goes into them but the definition: this program's way to write
/// them, the calendar's offsets, the paths, the owners.
///
/// A definition whose record names the same renderer need not be rendered to know its image.
pub fn renderer(context: &UnitContext, owners: Owners) -> Digest {
    let paths = [context.binary.as_path(), &context.layout.root()];
    let version = env!("CARGO_PKG_VERSION");
    let zones = chrono_tz::IANA_TZDB_VERSION;
    Digest::of(format!("{version} {REVISION:x} {zones} {paths:?} {owners:?}").as_bytes())
}

/// What a text takes at first, in bytes: few are longer.
const ROOM: usize = 2048;

/// The mode of a unit file.
const UNIT_MODE: u32 = 0o644;

/// The parts of a service, files with their bytes.
///
/// # Errors
/// As [`unit::render_service`] and [`unit::render_timer`].
pub fn image(service: &Service, context: &UnitContext, owners: Owners) -> Result<Image> {
    parts(service, context, owners, |bytes, mode, owner| {
        File::new(bytes, mode, owner)
    })
}

/// The same without the bytes, of which none is kept.
///
/// # Errors
/// As [`image`].
pub fn outline(service: &Service, context: &UnitContext, owners: Owners) -> Result<Image> {
    parts(service, context, owners, |bytes, mode, owner| File {
        digest: Digest::of(&bytes),
        mode,
        owner,
        bytes: None,
    })
}

fn parts(
    service: &Service,
    context: &UnitContext,
    owners: Owners,
    file: impl Fn(Vec<u8>, u32, Owner) -> File,
) -> Result<Image> {
    let mut image = Image::empty();
    let (mode, owner) = run_access(service, owners);
    image.set(
        image::RUN,
        Part::File(file(run_text(service)?, mode, owner)),
    );
    image.set(image::DATA, image::data(image::DATA_MODE, owners.runner));
    if let Some(replaced) = &service.replaces {
        image.set(image::REPLACES, Part::Text(image::retired(replaced)));
    }
    match service.scheduler {
        Scheduler::Worker => {}
        Scheduler::SystemdSystem | Scheduler::SystemdUser => {
            let owner = match service.scheduler {
                Scheduler::SystemdUser => owners.runner,
                Scheduler::SystemdSystem | Scheduler::Worker => owners.applier,
            };
            let unit = |text: String| Part::File(file(text.into_bytes(), UNIT_MODE, owner));
            image.set(
                image::SERVICE,
                unit(unit::render_service(service, context)?),
            );
            image.set(image::TIMER, unit(unit::render_timer(service, context)?));
            if let Some(text) = unit::render_refresh(service, context)? {
                image.set(image::REFRESH, unit(text));
            }
            image.set(image::ENABLED, Part::Flag(true));
            image.set(image::ACTIVE, Part::Flag(true));
        }
    }
    Ok(image)
}

fn run_text(service: &Service) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    serde_json::to_writer_pretty(&mut bytes, service).map_err(|error| {
        Error::new(Code::Internal, "a definition cannot be written as JSON").because(error)
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Mode and owner of `run.json`: readable to the service's user through its group, where that is
/// someone else.
const fn run_access(service: &Service, owners: Owners) -> (u32, Owner) {
    let (mode, gid) = match service.scheduler {
        Scheduler::SystemdSystem => (0o640, owners.runner.gid),
        Scheduler::SystemdUser if service.user.is_some() => (0o640, owners.runner.gid),
        Scheduler::SystemdUser | Scheduler::Worker => (0o600, owners.applier.gid),
    };
    let owner = Owner {
        uid: owners.applier.uid,
        gid,
    };
    (mode, owner)
}
