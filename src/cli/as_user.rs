//! `lorectl as-user NAME`: what a root's lorectl starts to act for a user, and nobody else calls.

use crate::{effect::delegate, error::Result};

use super::Done;

/// Becomes that user and does what it is asked to, until nobody asks any more.
pub async fn run(name: &str) -> Result<Done> {
    delegate::serve(name).await?;
    Ok(Done::Fine)
}
