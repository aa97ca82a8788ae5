//! Tokens that an issuer makes for us.

pub mod breaker;
pub mod policy;
