//! The first `lore.toml`, for `lorectl init`.

use crate::id::ProjectName;

/// A first `lore.toml`: one job that runs anywhere, and comments on what else there is.
pub fn template(project: &ProjectName) -> String {
    format!(
        r#"#:schema ./lorectl.schema.json
# `lorectl schema > lorectl.schema.json` lets an editor check and complete this file.
#
#   lorectl validate    says what is wrong with it
#   lorectl plan        says what applying it would change, and changes nothing
#   lorectl apply       changes it

version = 1

[project]
name = "{project}"                # names on the host and the state begin with it
lorectl = ">={version}"             # an older lorectl refuses this file

[services.hello]
description = "Says hello"
schedule = {{ every = "1h" }}       # or {{ cron = "30 2 * * *", timezone = "Europe/Paris" }}
run = ["/bin/echo", "hello"]      # a list of words, never a shell line
# user = "nobody"                 # whom it runs as; required by the system's systemd
# timeout = "15m"                 # the limit of a run
# write_paths = ["/srv/hello"]    # all else but its own data is read-only to it
# env = {{ LEVEL = "info" }}
"#,
        version = minor_version(),
    )
}

/// The version of this build without its patch number, which is what a spec should ask for.
fn minor_version() -> String {
    [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
    ]
    .join(".")
}
