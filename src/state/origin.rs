//! Where a spec comes from: a Git remote and the path within it, else the directory.
//!
//! Git's files are read as gitrepository-layout(5) and git-config(1) describe them; no process is
//! started, so nothing that a repository configures is run.

use std::path::Path;

use crate::{
    effect::disk::{Disk, EntryKind},
    error::{Error, Result},
    state::{
        format::{Origin, OriginKind},
        place::plain,
    },
};

/// The largest of Git's small files that is read.
const LIMIT: u64 = 1 << 20;

/// The origin of a spec in this directory, which must be absolute.
///
/// Two directories of one repository have two origins, and two checkouts of one repository have
/// the same; a checkout without a remote `origin` is a directory like any other.
///
/// # Errors
/// What the disk says of Git's files: an origin that changes because they cannot be read for once
/// would look like another spec.
pub fn origin(disk: &dyn Disk, spec_dir: &Path) -> Result<Origin> {
    for root in spec_dir.ancestors() {
        let Some(config) = config_of(disk, root)? else {
            continue;
        };
        if let Some(url) = remote_url(&config).and_then(|url| without_secrets(&url)) {
            let within = spec_dir.strip_prefix(root).unwrap_or(Path::new(""));
            let value = if within.as_os_str().is_empty() {
                url
            } else {
                format!("{url}//{}", within.display())
            };
            return Ok(Origin {
                kind: OriginKind::Git,
                value,
            });
        }
        break;
    }
    Ok(Origin {
        kind: OriginKind::Path,
        value: spec_dir.display().to_string(),
    })
}

/// The configuration of the repository whose work tree has its root here; `None` when none has.
fn config_of(disk: &dyn Disk, root: &Path) -> Result<Option<String>> {
    let mut git = root.join(".git");
    for _ in 0..8 {
        let stat = disk.stat(&git);
        let Some(stat) = stat.map_err(|error| Error::io("look at", &git, error))? else {
            return Ok(None);
        };
        match stat.kind {
            EntryKind::Dir => {
                // A linked work tree has its own directory, and shares the configuration.
                let shared = match small_file(disk, &git.join("commondir"))? {
                    Some(text) => git.join(text.trim_end_matches(['\n', '\r'])),
                    None => git,
                };
                return small_file(disk, &shared.join("config"));
            }
            EntryKind::File => {
                let text = small_file(disk, &git)?.unwrap_or_default();
                let Some(target) = text.strip_prefix("gitdir:") else {
                    return Ok(None);
                };
                git = plain(&root.join(target.trim()));
            }
            EntryKind::Link => {
                let target = disk.read_link(&git);
                let target = target.map_err(|error| Error::io("read the link", &git, error))?;
                git = plain(&root.join(target.unwrap_or_default()));
            }
            EntryKind::Special => return Ok(None),
        }
    }
    Ok(None)
}

fn small_file(disk: &dyn Disk, path: &Path) -> Result<Option<String>> {
    let path = plain(path);
    let file = disk.read(&path, LIMIT);
    let file = file.map_err(|error| Error::io("read", &path, error))?;
    Ok(file.map(|file| String::from_utf8_lossy(&file.bytes).into_owned()))
}

/// The first `url` of `[remote "origin"]`, from which Git fetches. Included files are not followed.
fn remote_url(config: &str) -> Option<String> {
    let mut in_origin = false;
    let mut text = config;
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let first = text.chars().next()?;
        if first == '#' || first == ';' {
            text = text.split_once('\n')?.1;
        } else if first == '[' {
            let (header, rest) = section(text)?;
            in_origin = header == ("remote".to_owned(), Some("origin".to_owned()));
            text = rest;
        } else {
            let (key, value, rest) = variable(text);
            if in_origin && key.eq_ignore_ascii_case("url") && value.is_some() {
                return value;
            }
            text = rest;
        }
    }
}

/// A section's name in lower case, its subsection as it is, and what follows the header.
fn section(text: &str) -> Option<((String, Option<String>), &str)> {
    let mut name = String::new();
    let mut subsection: Option<String> = None;
    let mut quoted = false;
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match (c, quoted) {
            ('\\', true) => {
                let (_, escaped) = chars.next()?;
                subsection.get_or_insert_default().push(escaped);
            }
            ('"', _) => {
                quoted = !quoted;
                subsection.get_or_insert_default();
            }
            (c, true) => subsection.get_or_insert_default().push(c),
            (']', false) => {
                let name = name.trim().to_ascii_lowercase();
                return Some(((name, subsection), text.get(at + 1..)?));
            }
            ('\n', false) => return None,
            (c, false) => name.push(c),
        }
    }
    None
}

/// A key, its value with quotes and escapes resolved (`None` without `=`), and what follows its line.
fn variable(text: &str) -> (&str, Option<String>, &str) {
    let end = text.find(['=', '\n', '#', ';']).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let Some(rest) = rest.strip_prefix('=') else {
        let next = rest.split_once('\n').map_or("", |(_, next)| next);
        return (key.trim(), None, next);
    };
    let mut value = String::new();
    // How much of the value stays when blanks at its end go.
    let mut kept = 0;
    let mut quoted = false;
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => {
                value.truncate(kept);
                return (key.trim(), Some(value), rest.get(at + 1..).unwrap_or(""));
            }
            '#' | ';' if !quoted => {
                value.truncate(kept);
                let next = rest.get(at..).and_then(|rest| rest.split_once('\n'));
                return (key.trim(), Some(value), next.map_or("", |(_, next)| next));
            }
            '"' => quoted = !quoted,
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('\n') | None => continue,
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(escaped) => value.push(escaped),
            },
            c if c.is_whitespace() && !quoted => {
                if !value.is_empty() {
                    value.push(c);
                }
                continue;
            }
            c => value.push(c),
        }
        kept = value.len();
    }
    value.truncate(kept);
    (key.trim(), Some(value), "")
}

/// A remote's URL without what may be secret: user, password, query and fragment.
///
/// `None` when nothing is left, and for a helper's command (`ext::…`), which may hold anything.
fn without_secrets(url: &str) -> Option<String> {
    if url.starts_with(['/', '.']) {
        return Some(url.to_owned());
    }
    let clean = if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // `/@scope/x` is a path; any other `@` may be the end of a password with a slash in it.
        let named = path.split(['?', '#']).next().unwrap_or_default();
        let is_path = !authority.contains([':', '@'])
            && named.matches("/@").count() == named.matches('@').count();
        let rest = if is_path || !named.contains('@') {
            format!("{}{path}", after_last_at(authority))
        } else {
            after_last_at(rest).to_owned()
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        format!("{scheme}://{rest}")
    } else {
        let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
        if host.contains("::") {
            return None;
        }
        format!("{}{path}", after_last_at(host))
    };
    let clean = clean.trim_end_matches('/');
    (!clean.is_empty()).then(|| clean.to_owned())
}

fn after_last_at(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{effect::simdisk::SimDisk, error::Code, resource::Owner};
    use proptest::prelude::*;

    const CONFIG: &str = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://me:s3cret@git.example.com/ops/hosts.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n";

    fn with(files: &[(&str, &str)]) -> SimDisk {
        let disk = SimDisk::new();
        for (path, text) in files {
            let root = Owner { uid: 0, gid: 0 };
            disk.put(Path::new(path), text.as_bytes(), 0o644, root);
        }
        disk
    }

    fn value(disk: &SimDisk, dir: &str) -> (OriginKind, String) {
        let origin = origin(disk, Path::new(dir)).unwrap();
        (origin.kind, origin.value)
    }

    #[test]
    fn a_checkout_is_its_remote_and_the_path_within() {
        let git = |value: &str| (OriginKind::Git, value.to_owned());
        let disk = with(&[("/src/repo/.git/config", CONFIG)]);
        let url = "https://git.example.com/ops/hosts.git";
        assert_eq!(value(&disk, "/src/repo"), git(url));
        let below = format!("{url}//examples/quickstart");
        assert_eq!(value(&disk, "/src/repo/examples/quickstart"), git(&below));
    }

    #[test]
    fn a_linked_work_tree_and_a_submodule_are_followed() {
        let disk = with(&[
            ("/src/repo/.git/config", CONFIG),
            ("/src/repo/.git/worktrees/w/commondir", "../..\n"),
            ("/src/w/.git", "gitdir: /src/repo/.git/worktrees/w\n"),
            ("/src/super/sub/.git", "gitdir: ../.git/modules/sub\n"),
            ("/src/super/.git/modules/sub/config", CONFIG),
        ]);
        disk.put_link(Path::new("/src/l/.git"), Path::new("../repo/.git"));
        for dir in ["/src/w", "/src/super/sub", "/src/l"] {
            assert_eq!(value(&disk, dir).1, "https://git.example.com/ops/hosts.git");
        }
    }

    #[test]
    fn what_has_no_remote_is_its_directory() {
        let disk = with(&[
            ("/plain/lore.toml", ""),
            (
                "/local/.git/config",
                "[core]\n\tbare = false\n[remote \"up\"]\nurl=x\n",
            ),
            (
                "/helper/.git/config",
                "[remote \"origin\"]\nurl = ext::sh -c 'secret'\n",
            ),
            ("/torn/.git", "nothing of Git's"),
            ("/circle/.git", "gitdir: .git"),
        ]);
        disk.put_pipe(Path::new("/pipe/.git"));
        for dir in [
            "/plain",
            "/local/a/b",
            "/helper",
            "/torn",
            "/circle",
            "/pipe",
        ] {
            assert_eq!(value(&disk, dir), (OriginKind::Path, dir.to_owned()));
        }
    }

    #[test]
    fn an_unreadable_configuration_is_an_error_and_not_another_origin() {
        let disk = with(&[("/src/.git/config", CONFIG)]);
        disk.make_unreadable(Path::new("/src/.git/config"));
        assert_eq!(origin(&disk, Path::new("/src")).unwrap_err().code, Code::Io);
    }

    #[test]
    fn git_s_own_syntax_is_read() {
        for (config, expected) in [
            ("[remote \"origin\"] url = a:b", Some("a:b")),
            ("[REMOTE \"origin\"]\nURL=x ; note\n", Some("x")),
            ("[remote \"Origin\"]\nurl = x\n", None),
            (
                "[remote \"origin\"]\nurl = first\nurl = second\n",
                Some("first"),
            ),
            (
                "[remote \"origin\"]\n# url = no\n\turl = \"a # b\" # c\n",
                Some("a # b"),
            ),
            ("[remote \"origin\"]\nurl = a\\\nb\n", Some("ab")),
            ("[remote \"origin\"]\nurl = a\\\\b\r\n", Some("a\\b")),
            ("[remote \"origin\"]\nprune\nurl = x\n", Some("x")),
            ("[remote \"origin\"]\n[remote \"b\"]\nurl = x\n", None),
            ("[remote \"or\\\"igin\"]\nurl = x\n", None),
            ("[remote \"origin\"\nurl = x\n", None),
            ("", None),
        ] {
            assert_eq!(remote_url(config).as_deref(), expected, "{config:?}");
        }
    }

    #[test]
    fn no_secret_of_a_url_is_kept() {
        for (url, expected) in [
            (
                "https://u:p@h.example/x.git",
                Some("https://h.example/x.git"),
            ),
            ("https://u:p@ss@h/x", Some("https://h/x")),
            ("https://u:p/w@h/x", Some("https://h/x")),
            ("https://token@h:8443/x/", Some("https://h:8443/x")),
            ("https://h/x?private_token=t#f", Some("https://h/x")),
            ("https://h/@scope/x", Some("https://h/@scope/x")),
            ("ssh://git@[::1]:22/x", Some("ssh://[::1]:22/x")),
            ("git@h:o/x.git", Some("h:o/x.git")),
            ("u:token@h/x.git", Some("h/x.git")),
            ("/srv/git/a@b.git", Some("/srv/git/a@b.git")),
            ("../x.git", Some("../x.git")),
            ("file:///srv/x", Some("file:///srv/x")),
            ("ext::sh -c x", None),
            ("u@", None),
        ] {
            assert_eq!(without_secrets(url).as_deref(), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_configuration_panics_the_reader(
            config in "(\\[remote \"origin\"\\]|url|=|\"|\\\\|\n|#|;|\\[|\\]| |[a-z@:/é]){0,40}",
        ) {
            let _ = remote_url(&config).and_then(|url| without_secrets(&url));
        }

        #[test]
        fn no_user_nor_query_survives(password in "[a-z:/@]{0,8}SECRET[a-z:@]{0,8}", query in "[a-z]{0,4}") {
            let url = format!("https://user:{password}@host/x.git?{query}=SECRET");
            prop_assert!(!without_secrets(&url).unwrap().contains("SECRET"), "{}", url);
        }
    }
}
