//! What shells other than bash complete, asked of the shells themselves.

use super::host::{Answer, Host};

/// The shell that each needs, its test, and the package for whoever does not have it.
pub const SHELLS: &[(&str, &str, super::Test)] = &[
    ("fish", "needs fish", ("fish_completes", fish_completes)),
    ("zsh", "needs zsh", ("zsh_completes", zsh_completes)),
];

/// A line, and what it is completed to.
const LINES: &[(&str, &str)] = &[
    ("lorectl pla", "plan"),
    ("lorectl status service.al", "service.alpha"),
    ("lorectl service logs be", "beta"),
    ("lorectl plan --targ", "--target"),
];

fn two_services(host: &Host) {
    host.spec(&[host.job("alpha"), host.job("beta")]);
    host.apply();
}

fn fish_completes(host: &Host) {
    two_services(host);
    let asks = LINES
        .iter()
        .map(|(line, _)| format!("complete -C '{line}' | string split -f 1 \\t\n"));
    let script = format!(
        "lorectl completions fish | source\n{}",
        asks.collect::<String>()
    );
    let mut fish = host.command("fish");
    let answer = fish.args(["--no-config", "-c", &script]).output().unwrap();
    let told = Answer::of(&answer).exits(0).stdout;
    let expected: Vec<&str> = LINES.iter().map(|(_, expected)| *expected).collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{answer:?}");
}

/// zsh completes where there is a terminal only: it gets one, and is read until the word is there.
fn zsh_completes(host: &Host) {
    two_services(host);
    let mut script = "zmodload zsh/zpty zsh/datetime\n\
        until_shown() {\n\
          local until=$((EPOCHREALTIME + 20)) all= more=\n\
          while (( EPOCHREALTIME < until )); do\n\
            if zpty -r -t shell more; then all+=$more; else zselect -t 5; fi\n\
            [[ $all == *$1* ]] && return 0\n\
          done\n\
          print -ru2 -- \"not shown: $1 in: ${(V)all}\"; return 1\n\
        }\n\
        zmodload zsh/zselect\n\
        zpty shell zsh -f -i\n\
        zpty -w shell 'PS1=; autoload -U compinit; compinit -u -D; eval \"$(lorectl completions zsh)\"; print RE\"\"ADY'\n\
        until_shown READY || exit 1\n"
        .to_owned();
    for (line, expected) in LINES {
        let typed = format!("zpty -w -n shell $'{line}\\t'\n");
        let shown = format!("until_shown '{expected}' || exit 1\n");
        script.extend([&typed, &shown, "zpty -w -n shell $'\\C-u'\n"]);
    }
    let mut zsh = host.command("zsh");
    let answer = zsh.args(["-f", "-c", &script]).output().unwrap();
    Answer::of(&answer).exits(0);
}
