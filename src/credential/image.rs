//! The parts of a credential's image, by name. All are texts, and none holds a value or a digest of one:
//! they say how what is there stands to the value in use.

use crate::{
    id::Digest,
    resource::{Definition, Image, Owner, Part, PartName, Verb},
};

use super::{
    definition::{Credential, Delivery},
    facts::Due,
};

/// What was applied of it: the digest of its definition.
pub const DEFINITION: PartName = PartName::from_static("definition");
/// The store: [`STORED`] where the file of the value holds the one in use and is readable to whoever
/// applies alone.
pub const VALUE: PartName = PartName::from_static("value");
/// The source: [`TAKEN_IN`] where it holds what it held when it was last taken in, or nothing.
pub const SOURCE: PartName = PartName::from_static("source");
/// What is due, where something is: never desired.
pub const DUE: PartName = PartName::from_static("due");
/// Prefix of deliveries: `deliver/etc/acme/token`, `deliver/etc/acme/env#TOKEN`.
pub const DELIVER: &str = "deliver";

/// The text of [`VALUE`] as it is to be.
pub const STORED: &str = "stored";
/// The text of [`SOURCE`] as it is to be.
pub const TAKEN_IN: &str = "taken in";
/// The text of [`SOURCE`] where it holds another value.
pub const NEW_VALUE: &str = "another value";
/// How the text of a delivery begins that holds the value in use.
pub const CURRENT: &str = "current";

/// How it begins where what it holds never was a value of the credential.
pub const OTHER: &str = "another value";
/// How it begins where it holds a value that is not in use any more; its number follows.
pub const GENERATION: &str = "generation ";

/// Makes a credential.
pub const INSTALL: Verb = Verb::from_static("install");
/// Brings a credential to its `after`.
pub const UPDATE: Verb = Verb::from_static("update");
/// Obtains a new value before the old one ends.
pub const RENEW: Verb = Verb::from_static("renew");
/// Has the issuer make a new value, which is stored and not in use yet.
pub const MINT: Verb = Verb::from_static("mint");
/// Ends a value that was made and is not in use: the inverse of a mint.
pub const WITHDRAW: Verb = Verb::from_static("withdraw");
/// Ends old values whose time has come.
pub const REVOKE: Verb = Verb::from_static("revoke");
/// Removes a credential, and what was delivered of it.
pub const REMOVE: Verb = Verb::from_static("remove");
/// Puts a credential and its deliveries back as they were before a step of the same apply.
pub const PUT_BACK: Verb = Verb::from_static("put-back");

/// What a host must hold of a credential.
pub fn desired(definition: &Definition, credential: &Credential) -> Image {
    let mut image = Image::empty();
    image.set(DEFINITION, self::definition(definition));
    image.set(VALUE, Part::Text(STORED.to_owned()));
    image.set(SOURCE, Part::Text(TAKEN_IN.to_owned()));
    for one in &credential.deliver {
        image.set(
            part(one),
            Part::Text(delivered(CURRENT, one.mode, one.owner)),
        );
    }
    image
}

/// What is there of a credential after a new value was made for it: what was there before, or nothing
/// but its record.
pub fn minted(before: Option<&Image>, definition: &Definition) -> Image {
    let mut image = before.cloned().unwrap_or_else(|| {
        let mut image = Image::empty();
        image.set(DEFINITION, self::definition(definition));
        image.set(SOURCE, Part::Text(TAKEN_IN.to_owned()));
        image
    });
    image.set(DUE, Part::Text(Due::Pending.as_str().to_owned()));
    image
}

/// The part for a definition.
pub fn definition(definition: &Definition) -> Part {
    Part::Text(Digest::of(definition.as_json().as_bytes()).short())
}

/// The name of a delivery's part.
pub fn part(delivery: &Delivery) -> PartName {
    PartName::from_text(format!("{DELIVER}{}", delivery.to))
}

/// The text of a delivery: how what it holds stands to the value in use, and what of its file is ours.
pub fn delivered(content: &str, mode: Option<u32>, owner: Option<Owner>) -> String {
    let mode = mode.map_or_else(String::new, |mode| format!(" {mode:04o}"));
    let owner = owner.map_or_else(String::new, |one| format!(" {}:{}", one.uid, one.gid));
    format!("{content}{mode}{owner}")
}
