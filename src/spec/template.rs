//! The first `lore.toml`, for `lorectl init`.

use crate::id::ProjectName;

/// A first `lore.toml`: one job that runs anywhere, and comments on what else there is.
///
/// `user` is whom the job runs as, where the scheduler that `auto` will pick asks for it: the
/// system's systemd does.
pub fn template(project: &ProjectName, user: Option<&str>) -> String {
    let line = |code: &str, comment: &str| format!("{code:<33} # {comment}\n");
    let quoted = |key: &str, value: &str| format!("{key} = \"{value}\"");
    let mut text = String::from(
        "#:schema ./lorectl.schema.json\n\
         # `lorectl schema > lorectl.schema.json` lets an editor check and complete this file.\n\
         #\n\
         #   lorectl validate    says what is wrong with it\n\
         #   lorectl plan        says what applying it would change, and changes nothing\n\
         #   lorectl apply       changes it\n\
         \n\
         version = 1\n\
         \n\
         [project]\n",
    );
    let version = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
    ]
    .join(".");
    text += &line(
        &quoted("name", project.as_str()),
        "the state, and all names on the host, belong to it",
    );
    text += &line(
        &quoted("lorectl", &[">=", &version].concat()),
        "an older lorectl refuses this file",
    );
    text += "\n[services.hello]\ndescription = \"Says hello\"\n";
    text += &line(
        "schedule = { every = \"1h\" }",
        "or { cron = \"30 2 * * *\", timezone = \"Europe/Paris\" }",
    );
    text += &line(
        "run = [\"/bin/echo\", \"hello\"]",
        "a list of words, never a shell line",
    );
    text += &match user {
        Some(user) => line(
            &quoted("user", user),
            "whom it runs as; `root` only when written",
        ),
        None => line(
            "# user = \"nobody\"",
            "whom it runs as; the system's systemd requires it",
        ),
    };
    text += &line("# timeout = \"15m\"", "the limit of a run");
    text += &line(
        "# write_paths = [\"/srv/hello\"]",
        "all else but its own data is read-only to it",
    );
    text += "# env = { LEVEL = \"info\" }\n";
    text
}
