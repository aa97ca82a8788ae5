//! One target for all that is tested from outside.
