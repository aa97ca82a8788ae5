//! The recipe of `examples/ci` as GitLab's runners would run it: the host is observed, the plan is made
//! on another machine, shown, and applied on the host, where more has happened since.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::host::{Answer, Host, run};

pub const SYSTEM: &[super::Test] = &[
    (
        "what_was_approved_elsewhere_is_applied_and_no_more",
        what_was_approved_elsewhere_is_applied_and_no_more,
    ),
    (
        "github_shows_and_applies_what_was_approved",
        github_shows_and_applies_what_was_approved,
    ),
];

/// The browser looks at a page as a person would; where there is none, that test is ignored.
pub const BROWSER: super::Test = ("a_page_is_shown_by_a_browser", a_page_is_shown_by_a_browser);

fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci")
}

/// The lines of a job's script.
fn script(job: &str) -> Vec<String> {
    let yaml = fs::read_to_string(recipes().join("gitlab-ci.yml")).unwrap();
    let (_, rest) = yaml.split_once(&format!("\n{job}:\n")).unwrap();
    let own = rest.split("\n\n").next().unwrap();
    let (_, lines) = own.split_once("  script:\n").unwrap();
    let lines = lines.lines().map_while(|line| line.strip_prefix("    - "));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{job} has no script");
    lines
}

/// The commands of a job's steps, with the only expression that stands in one filled in.
fn steps(job: &str) -> Vec<String> {
    let yaml = fs::read_to_string(recipes().join("github-actions.yml")).unwrap();
    let (_, rest) = yaml.split_once(&format!("\n  {job}:\n")).unwrap();
    let own = rest.split("\n\n").next().unwrap();
    let run = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ");
        let command = line.strip_prefix("run: ")?;
        Some(command.replace("${{ github.event.number }}", "7"))
    };
    let steps: Vec<String> = own.lines().filter_map(run).collect();
    assert!(!steps.is_empty(), "{job} has no steps");
    assert!(steps.iter().all(|step| !step.contains("${{")), "{steps:?}");
    steps
}

/// Two checkouts of one repository, on two machines; the runner sees no systemd, no D-Bus, no state
/// and not all programs of the host.
struct Ci<'a> {
    host: &'a Host,
    /// Where the spec lies on the host.
    place: PathBuf,
    on_host: PathBuf,
    on_runner: PathBuf,
}

impl<'a> Ci<'a> {
    fn new(host: &'a Host) -> Self {
        let ci = Self {
            host,
            place: Path::new("/srv/ci").join(&host.project).join("jobs"),
            on_host: Path::new("/srv/builds").join(&host.project),
            on_runner: Path::new("/srv/runner").join(&host.project),
        };
        for checkout in [&ci.on_host, &ci.on_runner] {
            fs::create_dir_all(checkout.join("jobs")).unwrap();
            run(
                "cp",
                &[
                    "-r",
                    recipes().to_str().unwrap(),
                    checkout.join("ci").to_str().unwrap(),
                ],
            );
        }
        run("chown", &["-R", "nobody", ci.on_runner.to_str().unwrap()]);
        fs::create_dir_all("/usr/local/sbin").unwrap();
        // The sandbox's tests are root already.
        program("/usr/local/bin/sudo", "SUDO_UID=$(id -u) exec \"$@\"");
        program("/usr/local/sbin/on-the-host-alone", "exit 0");
        ci
    }

    /// The spec of both checkouts, as a commit would bring it there.
    fn commit(&self, jobs: &[(&str, &str)]) {
        let mut text = format!("version = 1\n[project]\nname = \"{}\"\n", self.host.project);
        for (name, keys) in jobs {
            let _ = writeln!(
                text,
                "[services.{name}]\nuser = \"daemon\"\nscheduler = \"systemd-system\"\n{keys}"
            );
        }
        for checkout in [&self.on_host, &self.on_runner] {
            fs::write(checkout.join("jobs/lore.toml"), &text).unwrap();
            let job = checkout.join("jobs/job");
            program(job.to_str().unwrap(), "exit 0");
        }
    }

    /// A job, as a runner runs it: its lines by bash, which stops at the first that fails.
    fn job(&self, name: &str, shell: Command, checkout: &Path) -> Answer {
        let lines = script(name);
        let lines: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            // There is no GitLab to fetch the plan from: it was handed over.
            .filter(|line| !line.contains("approved-gitlab"))
            .collect();
        self.lines(&lines.join("\n"), shell, checkout)
    }

    fn lines(&self, lines: &str, mut shell: Command, checkout: &Path) -> Answer {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        shell
            .args(["bash", "-c", &format!("set -eo pipefail\n{lines}")])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("CI", "true")
            .env("GITLAB_CI", "true")
            .env("GITHUB_REPOSITORY", "acme/web1")
            .env("GITHUB_SHA", "merged")
            .env("GITHUB_WORKFLOW", "lorectl")
            .env("GH_TOKEN", "none")
            .env("HOME", "/srv/runner")
            .env("PROJECT", &self.host.project)
            .env("HOST", hostname.trim())
            .env("SPEC", "jobs")
            .env("PLACE", &self.place)
            .current_dir(checkout)
            .stdin(Stdio::null());
        Answer::of(&shell.output().unwrap())
    }

    fn at_host(&self, name: &str) -> Answer {
        self.job(name, Command::new("env"), &self.on_host)
    }

    fn at_runner(&self, name: &str) -> Answer {
        self.job(name, runner(), &self.on_runner)
    }

    /// Steps of a job on GitHub, as far as the first that fails; each is a shell of its own.
    fn on_github(&self, job: &str, shell: impl Fn() -> Command, checkout: &Path) -> Answer {
        let mut last = None;
        for step in steps(job) {
            let answer = self.lines(&step, shell(), checkout);
            let failed = answer.status != 0;
            last = Some(answer);
            if failed {
                break;
            }
        }
        last.unwrap()
    }

    fn hand_over_snapshot(&self) {
        hand_over("snapshot.json", &self.on_host, &self.on_runner);
    }

    fn hand_over_plan(&self) {
        hand_over("plan.json", &self.on_runner, &self.on_host);
    }
}

/// Where nothing of the host is seen.
fn runner() -> Command {
    let mut shell = Command::new("unshare");
    let hide = "for dir in /run /usr/local/sbin /var/lib/lorectl /etc/systemd; do mount -t tmpfs tmpfs $dir; done; \
         exec setpriv --reuid=nobody --regid=nogroup --clear-groups \"$@\"";
    shell.args(["--mount", "bash", "-c", hide, "bash"]);
    shell
}

/// GitHub's `gh`, as far as the recipe calls it: what it downloads and comments on is in a directory.
fn fake_gh(place: &Path) {
    fs::create_dir_all(place).unwrap();
    let lines = format!(
        "cd_from=$PWD; place={}\n\
         echo \"$*\" >>$place/calls\n\
         case \"$1 $2\" in\n\
         'api repos/acme/web1/commits/merged/pulls') echo head ;;\n\
         'run list') case \"$*\" in *'--commit head'*) echo 42 ;; esac ;;\n\
         'run download') cp $place/plan.json \"$cd_from/\" ;;\n\
         'pr comment') while [ \"$1\" != --body-file ]; do shift; done; cp \"$2\" $place/comment.md ;;\n\
         *) exit 64 ;;\n\
         esac",
        place.display()
    );
    program("/usr/local/bin/gh", &lines);
    run("chmod", &["-R", "a+rwX", place.to_str().unwrap()]);
}

fn github_shows_and_applies_what_was_approved(host: &Host) {
    let ci = Ci::new(host);
    let place = ci.on_host.with_extension("github");
    fake_gh(&place);
    ci.commit(&[("a", HOURLY), ("b", HOURLY), ("c", HOURLY)]);
    let request = |status| {
        let here = || Command::new("env");
        ci.on_github("observe", here, &ci.on_host).exits(0);
        ci.hand_over_snapshot();
        // The first two steps, then those that run in any case.
        let steps = steps("plan");
        let (shown, always) = steps.split_at(2);
        ci.lines(&shown.join("\n"), runner(), &ci.on_runner)
            .exits(status);
        for step in always {
            ci.lines(step, runner(), &ci.on_runner).exits(0);
        }
        hand_over("plan.json", &ci.on_runner, &place);
    };
    request(0);
    let comment = fs::read_to_string(place.join("comment.md")).unwrap();
    assert!(comment.contains("3 to create"), "{comment}");
    let here = || Command::new("env");
    ci.on_github("apply", here, &ci.on_host).exits(0);
    let timer = host.unit("a", "timer");
    assert_eq!(host.property(&timer, "ActiveState"), "active");

    // What deletes fails the check, is shown all the same, and is no approval.
    ci.commit(&[("a", HOURLY), ("b", HOURLY)]);
    request(3);
    let comment = fs::read_to_string(place.join("comment.md")).unwrap();
    assert!(comment.contains("Refused"), "{comment}");
    let answer = ci.on_github("apply", here, &ci.on_host).exits(3);
    assert!(answer.stderr.contains("NOT_APPROVED"), "{answer:?}");

    // A push that no request was merged by approves nothing.
    program("/usr/local/bin/gh", "exit 0");
    let answer = ci.on_github("apply", here, &ci.on_host).exits(3);
    assert!(answer.stderr.contains("from no pull request"), "{answer:?}");
}

/// An artifact of one job, in the checkout of another.
fn hand_over(name: &str, from: &Path, to: &Path) {
    fs::copy(from.join(name), to.join(name)).unwrap();
    fs::set_permissions(to.join(name), fs::Permissions::from_mode(0o644)).unwrap();
}

fn program(path: &str, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

const HOURLY: &str = "schedule = { every = \"1h\" }\nrun = [\"true\"]\n";
const DAILY: &str = "schedule = { every = \"1d\" }\nrun = [\"true\"]\n";
const RELATIVE: &str = "schedule = { every = \"1h\" }\nrun = [\"./job\"]\n";
const ON_HOST: &str = "schedule = { every = \"1h\" }\nrun = [\"on-the-host-alone\", \"x\"]\n";

/// Approves a first plan, applies it, and has the merge request's plan on the host.
fn approved(ci: &Ci<'_>) {
    ci.commit(&[("a", HOURLY), ("b", HOURLY), ("c", RELATIVE), ("d", HOURLY)]);
    ci.at_host("observe").exits(0);
    ci.hand_over_snapshot();
    ci.at_runner("plan").exits(0);
    ci.hand_over_plan();
    ci.at_host("apply").exits(0);

    ci.commit(&CHANGED);
    ci.at_host("observe").exits(0);
    ci.hand_over_snapshot();
    let answer = ci.at_runner("plan").exits(0);
    assert!(
        answer
            .stdout
            .contains("Plan: 1 to create, 1 to change; 3 unchanged."),
        "{answer:?}"
    );
    ci.hand_over_plan();
}

const CHANGED: [(&str, &str); 5] = [
    ("a", DAILY),
    ("b", HOURLY),
    ("c", RELATIVE),
    ("d", HOURLY),
    ("e", ON_HOST),
];

fn what_was_approved_elsewhere_is_applied_and_no_more(host: &Host) {
    let ci = Ci::new(host);
    approved(&ci);
    let read = |name: &str| fs::read_to_string(ci.on_runner.join(name)).unwrap();
    assert!(read("plan.md").contains("1 to create, 1 to change"));
    assert!(read("plan.html").starts_with("<!DOCTYPE html>"));
    let counts: Value = serde_json::from_str(&read("plan.gitlab.json")).unwrap();
    assert_eq!(
        counts,
        serde_json::json!({"create": 1, "update": 1, "delete": 0})
    );

    // Meanwhile a timer fires, and someone stops another.
    let fired = host.unit("d", "service");
    host.systemctl(&["start", &fired]);
    assert!(host.status("d").is_some(), "the run of d left no status");
    let stopped = host.unit("b", "timer");
    host.systemctl(&["stop", &stopped]);

    // One more change than was approved: nothing is done, and it is named.
    let mut more = CHANGED.to_vec();
    more[2] = ("c", DAILY);
    ci.commit(&more);
    let before = host.state();
    let answer = ci.at_host("apply").exits(3);
    assert!(answer.stderr.contains("NOT_APPROVED"), "{answer:?}");
    assert!(answer.stderr.contains("service.c"), "{answer:?}");
    assert!(!answer.stderr.contains("service.b"), "{answer:?}");
    assert_eq!(host.state(), before);

    ci.commit(&CHANGED);
    let answer = ci.at_host("apply").exits(0);
    assert!(answer.stdout.contains("1 created, 1 changed"), "{answer:?}");
    assert!(
        answer.stdout.contains("left as it is\n    service.b"),
        "{answer:?}"
    );
    assert_eq!(host.property(&stopped, "ActiveState"), "inactive");
    assert_eq!(
        host.property(&host.unit("e", "timer"), "ActiveState"),
        "active"
    );

    // What is denied is not let through, and is shown all the same.
    ci.commit(&CHANGED[..3]);
    ci.at_host("observe").exits(0);
    ci.hand_over_snapshot();
    ci.at_runner("plan").exits(3);
    assert!(read("plan.md").contains("Refused"));
}

fn a_page_is_shown_by_a_browser(host: &Host) {
    let ci = Ci::new(host);
    let hostile = "env = { X = \"</pre><script>document.title = 'broken'</script><img src=x>\" }\n";
    ci.commit(&[
        ("a", &format!("{HOURLY}{hostile}")),
        ("b", &format!("{HOURLY}depends_on = [\"service.a\"]\n")),
    ]);
    fs::create_dir_all(&ci.place).unwrap();
    fs::copy(
        ci.on_host.join("jobs/lore.toml"),
        ci.place.join("lore.toml"),
    )
    .unwrap();
    let spec = ci.place.to_str().unwrap();
    let (plan, page) = (ci.place.join("plan.json"), ci.place.join("plan.html"));
    let answer = host.lorectl(&["plan", "-f", spec, "--out", plan.to_str().unwrap()]);
    answer.exits(0);
    let html = host.lorectl(&["show", plan.to_str().unwrap(), "--format", "html"]);
    fs::write(&page, html.exits(0).stdout).unwrap();
    let mut browser = Command::new("chromium");
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            ci.place.join("browser").display()
        ))
        .arg(format!("file://{}", page.display()))
        .env("HOME", &ci.place)
        .stdin(Stdio::null());
    let dom = Answer::of(&browser.output().unwrap()).exits(0).stdout;
    let title = format!("<title>Plan for {} on ", host.project);
    assert!(dom.contains(&title), "{dom}");
    assert!(
        dom.contains("<b>service.a</b>") && dom.contains("<svg"),
        "{dom}"
    );
    assert!(!dom.contains("<script") && !dom.contains("<img"), "{dom}");
    assert!(dom.contains("&lt;script&gt;document.title"), "{dom}");
}
