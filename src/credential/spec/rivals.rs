//! Deliveries: that no two of one host go to one place.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{id::ResourceName, service::spec::Problem};

use super::{DeclaredCredential, raw::RawDelivery};

/// A place: the file, from the spec's root where it is written from the spec file, and the variable
/// where it is one line of it.
type Place<'a> = (PathBuf, Option<&'a str>);

fn place<'a>(raw: &'a RawDelivery, declared_in: &str) -> Option<Place<'a>> {
    let placed = |path: &str| match path.strip_prefix("./") {
        Some(rest) => Path::new(declared_in).with_file_name("").join(rest),
        None => path.into(),
    };
    match (&raw.file, &raw.env_file) {
        (Some(path), _) => Some((placed(path), None)),
        (None, Some(path)) => Some((placed(path), Some(raw.name.as_ref()?.as_str()))),
        (None, None) => None,
    }
}

/// Each delivery to what an earlier one writes: the two would undo each other for ever.
pub fn twice(credentials: &[DeclaredCredential]) -> Vec<(ResourceName, Problem)> {
    let mut files: BTreeMap<PathBuf, Vec<(&DeclaredCredential, Option<&str>)>> = BTreeMap::new();
    let mut problems = Vec::new();
    for credential in credentials {
        for (index, raw) in credential.raw.deliver.iter().flatten().enumerate() {
            let Some((path, name)) = place(raw, &credential.file) else {
                continue;
            };
            let others = files.entry(path).or_default();
            // A file that holds a value and nothing else cannot hold variables too.
            let clash = others.iter().find(|(other, theirs)| {
                let same = name.is_none() || theirs.is_none() || *theirs == name;
                same && meet(&other.on, &credential.on)
            });
            if let Some((other, _)) = clash {
                let key = if raw.file.is_some() {
                    "file"
                } else {
                    "env_file"
                };
                let message = if other.name == credential.name {
                    "it is delivered there already".to_owned()
                } else {
                    format!("`{}` is delivered there", other.address())
                };
                let at = format!("/deliver/{index}/{key}");
                problems.push((credential.name.clone(), Problem::at(at, message)));
            }
            others.push((credential, name));
        }
    }
    problems
}

/// Whether there is a host that has both; an empty list is every host.
fn meet(a: &[String], b: &[String]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|host| b.contains(host))
}
