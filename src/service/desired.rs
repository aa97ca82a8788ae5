//! From a service's definition to what the host must hold of it.

use super::{
    definition::{Scheduler, Service},
    image,
    unit::{self, UnitContext},
};
use crate::{
    error::{Code, Error, Result},
    resource::{File, Image, Owner, Part},
};

/// Who owns what of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// Who applies: root, or the user. Owns units, directories and `run.json`.
    pub applier: Owner,
    /// Whom the service runs as; the same as the applier but for `user` of a root's service.
    pub runner: Owner,
}

/// The mode of a unit file.
const UNIT_MODE: u32 = 0o644;

/// The parts of a service, files with their bytes.
///
/// # Errors
/// As [`unit::render_service`] and [`unit::render_timer`].
pub fn image(service: &Service, context: &UnitContext, owners: Owners) -> Result<Image> {
    let mut image = Image::empty();
    image.set(image::RUN, Part::File(run_file(service, owners)?));
    match service.scheduler {
        Scheduler::Worker => {}
        Scheduler::SystemdSystem | Scheduler::SystemdUser => {
            let unit =
                |text: String| Part::File(File::new(text.into_bytes(), UNIT_MODE, owners.applier));
            image.set(
                image::SERVICE,
                unit(unit::render_service(service, context)?),
            );
            image.set(image::TIMER, unit(unit::render_timer(service, context)?));
            image.set(image::ENABLED, Part::Flag(true));
            image.set(image::ACTIVE, Part::Flag(true));
        }
    }
    Ok(image)
}

/// `run.json`: readable to the service's user through its group, where that is someone else.
fn run_file(service: &Service, owners: Owners) -> Result<File> {
    let mut bytes = serde_json::to_vec_pretty(service).map_err(|error| {
        Error::new(Code::Internal, "a definition cannot be written as JSON").because(error)
    })?;
    bytes.push(b'\n');
    let (mode, gid) = match service.scheduler {
        Scheduler::SystemdSystem => (0o640, owners.runner.gid),
        Scheduler::SystemdUser | Scheduler::Worker => (0o600, owners.applier.gid),
    };
    let owner = Owner {
        uid: owners.applier.uid,
        gid,
    };
    Ok(File::new(bytes, mode, owner))
}
