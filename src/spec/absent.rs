//! What the format knows and this build does not have.
//!
//! It is refused, not skipped. Whoever brings a feature deletes its line here: the types, the JSON
//! Schema's descriptions and the walk know it already.

/// One thing that this build does not have.
pub struct Absent {
    /// Where it stands, key by key; `*` is any key.
    pub path: &'static [&'static str],
    /// What is said of it, after "this build of lorectl".
    pub what: &'static str,
}

const fn absent(path: &'static [&'static str], what: &'static str) -> Absent {
    Absent { path, what }
}

/// All of it.
pub const ABSENT: &[Absent] = &[
    absent(&["routers"], "has no routers"),
    absent(&["deployments"], "has no deployments"),
];

/// What is not in this build at a path of keys (those of arrays left out).
pub fn at(path: &[&str]) -> Option<&'static Absent> {
    ABSENT.iter().find(|absent| {
        absent.path.len() == path.len()
            && (absent.path.iter().zip(path)).all(|(known, key)| *known == "*" || known == key)
    })
}
