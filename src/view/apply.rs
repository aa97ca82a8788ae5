//! An apply for its operator: progress while it works, and how it ended.

mod progress;
mod result;

pub use progress::{Progress, Verbosity};
pub use result::render;
