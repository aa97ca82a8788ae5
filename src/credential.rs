//! Credentials: tokens that are declared, probed, minted, rotated and delivered.
//!
//! A value goes from its source to the store, and from there to runs and to the places it is
//! delivered to. No value is in a definition, an image, a plan, a state or a message: there it is a
//! keyed fingerprint.
//!
//! What there is of a credential is told by its own record ([`record`]) and the places that this names,
//! never by what the spec asks for; so an observation is the same before a step and after it.

pub mod backend;
pub mod definition;
mod delivery;
pub mod doctor;
pub mod drift;
mod env_file;
pub mod facts;
pub mod finding;
pub mod image;
pub mod issuer;
pub mod key;
pub mod mint;
pub mod notify;
pub mod outlook;
pub mod plan;
pub mod provider;
pub mod record;
pub mod rest;
pub mod seal;
pub mod setback;
pub mod source;
pub mod spec;
pub mod spot;
pub mod value;
pub mod watch;
mod way;
