//! Credentials: tokens that are declared, probed, minted, rotated and delivered.
//!
//! A value goes from its source to the store, and from there to runs and to the places it is
//! delivered to. No value is in a definition, an image, a plan, a state or a message: there it is a
//! keyed fingerprint.

pub mod finding;
pub mod mint;
