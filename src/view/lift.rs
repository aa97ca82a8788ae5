//! What lifts a hold, in the words that every report has for it.

use crate::{id::Timestamp, resource::Lift};

/// What is before the act by which a person lifts it.
pub const BY_HAND: &str = "to lift it: ";

/// What lifts a hold, to follow its reason: the words, and the instant (as `when` shows it), event or act.
pub fn words(lift: &Lift, when: impl FnOnce(Timestamp) -> String) -> (&'static str, String) {
    match lift {
        Lift::At { at } => ("lifts ", when(*at)),
        Lift::Later { what } => ("lifts after ", what.clone()),
        Lift::ByHand { how } => (BY_HAND, how.clone()),
    }
}
