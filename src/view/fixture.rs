//! A plan with one of everything, services only, at a fixed instant.

use std::sync::Arc;

use serde_json::json;

use crate::{
    apply::events::{Failure, Holding, Report},
    error::Code,
    id::{Address, BackendId, Digest, Lineage, ResourceId, Seconds, Timestamp},
    resource::{
        Action, ActionReason, Cause, Change, Definition, Disruption, Drift, DriftField,
        FieldChange, FileChange, Hold, Level, Lift, Plan, Refusal, Step, StepId, Subject, Undo,
        Verb,
    },
    view::{
        service::{
            Backoff, Levels, List, ListRow, PlatformState, Run, ServiceStatus, SkipData, Stage,
            Trigger, Undelivered,
        },
        state::{Held, LastRun, RunOutcome, State},
        status::{Row, Status},
    },
};

pub const NOW: &str = "2025-11-20T09:12:00Z";

/// Compares with a snapshot in the top-level `snapshots/`.
#[track_caller]
pub fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, text); });
}

pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub fn address(name: &str) -> Address {
    format!("service.{name}").parse().unwrap()
}

pub fn subject() -> Subject {
    let project = "acme".parse().unwrap();
    Subject {
        lineage: Lineage::derive("0123456789abcdef", 0, &project),
        project,
        host: "web1".to_owned(),
        serial: 41,
        spec_digest: Some(Digest::of(b"spec")),
        observed_at: None,
    }
}

pub fn no_op(name: &str) -> Change {
    Change {
        address: address(name),
        action: Action::NoOp,
        cause: None,
        reason: ActionReason::UpToDate,
        before: json!(null).into(),
        after: json!(null).into(),
        fields: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
        record: None,
    }
}

fn change(name: &str, action: Action, cause: Cause, reason: ActionReason) -> Change {
    Change {
        action,
        cause: Some(cause),
        reason,
        ..no_op(name)
    }
}

pub fn field(name: &str, before: Option<&str>, after: Option<&str>) -> FieldChange {
    FieldChange {
        field: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

pub fn file(path: &str, before: Option<&str>, after: Option<&str>) -> FileChange {
    FileChange {
        path: path.to_owned(),
        before: before.map(Arc::from),
        after: after.map(Arc::from),
    }
}

pub fn step(id: u32, name: &str, verb: &'static str, backend: &'static str) -> Step {
    let address = address(name);
    Step {
        id: StepId(id),
        resource: ResourceId::derive(&subject().lineage, &address),
        address,
        backend: BackendId::from_static(backend),
        verb: Verb::from_static(verb),
        depends_on: Vec::new(),
        disruption: Disruption::Reload,
        undo: Undo::RestoreBefore,
        before: None,
        after: None,
        definition: Definition::of(&json!({})).unwrap(),
        patience: Seconds(960),
    }
}

const TIMER: &str = "# Written by lorectl; do not edit.\n[Unit]\nDescription=lorectl: sync of acme\n\n[Timer]\n\
    OnActiveSec=30min\nOnUnitActiveSec=30min\nAccuracySec=1s\nRandomizedDelaySec=1min\nPersistent=false\n\n\
    [Install]\nWantedBy=timers.target\n";

const SERVICE: &str = "# Written by lorectl; do not edit.\n[Unit]\nDescription=lorectl: index of acme\nX-Lorectl-Project=acme\n\n\
    [Service]\nType=oneshot\nUser=index\nExecStart=/usr/local/bin/lorectl service run --state-dir /var/lib/lorectl --project acme index\n";

fn changes() -> Vec<Change> {
    use ActionReason as R;
    let run = "/var/lib/lorectl/acme/services";
    let unit = "/etc/systemd/system/lorectl-acme";
    vec![
        no_op("archive"),
        Change {
            before: json!({"schedule": {"cron": "30 2 * * *"}, "timezone": "Europe/Paris"}).into(),
            after: json!({"schedule": {"cron": "30 3 * * *"}, "timezone": "Europe/Paris"}).into(),
            fields: vec![
                field(
                    "schedule",
                    Some("30 2 * * *  Europe/Paris"),
                    Some("30 3 * * *  Europe/Paris"),
                ),
                field(
                    "next runs",
                    Some("Fri 01:30, Sat 01:30, Sun 01:30 UTC"),
                    Some("Fri 02:30, Sat 02:30, Sun 02:30 UTC"),
                ),
                field("env.LANG", None, Some("fr_FR.UTF-8")),
            ],
            notes: vec![
                "the run in flight since 09:10 UTC ends under the definition it began with"
                    .to_owned(),
            ],
            ..change("backup", Action::Update, Cause::Spec, R::SpecChanged)
        },
        Change {
            after: json!({"schedule": {"every": "6h"}}).into(),
            fields: vec![
                field("schedule", None, Some("every 6h")),
                field("next runs", None, Some("15:12, 21:12, Fri 03:12 UTC")),
                field("user", None, Some("index")),
                field("run", None, Some("/usr/bin/indexer --all --quiet")),
                field("sandbox", None, Some("strict (exposure 1.6)")),
            ],
            files: vec![
                file(&format!("{unit}.index.service"), None, Some(SERVICE)),
                file(&format!("{unit}.index.timer"), None, Some(TIMER)),
                file(
                    &format!("{run}/index/run.json"),
                    None,
                    Some("{\"run_version\":1}\n"),
                ),
            ],
            ..change("index", Action::Create, Cause::Spec, R::NewInSpec)
        },
        Change {
            fields: vec![field("scheduler", Some("worker"), Some("systemd-system"))],
            ..change("mail", Action::Replace, Cause::Spec, R::BackendChanged)
        },
        no_op("mirror"),
        Change {
            before: json!({"schedule": {"every": "1d"}}).into(),
            files: vec![
                file(&format!("{unit}.old.service"), Some(SERVICE), None),
                file(&format!("{unit}.old.timer"), Some(TIMER), None),
            ],
            notes: vec![
                "its status and logs stay in /var/lib/lorectl/acme/services/old/data".to_owned(),
            ],
            ..change("old", Action::Delete, Cause::Spec, R::RemovedFromSpec)
        },
        change("report", Action::Update, Cause::Drift, R::Drifted),
        Change {
            fields: vec![
                field("schedule", Some("every 30m"), Some("every 15m")),
                field(
                    "next runs",
                    Some("09:30, 10:00, 10:30 UTC"),
                    Some("09:27, 09:42, 09:57 UTC"),
                ),
                field(
                    "run",
                    Some("/usr/local/bin/lore sync issues --project group/one --since yesterday"),
                    Some(
                        "/usr/local/bin/lore sync issues --project group/one --project group/two --since yesterday",
                    ),
                ),
            ],
            files: vec![file(
                &format!("{unit}.sync.timer"),
                Some(TIMER),
                Some(&TIMER.replace(
                    "OnActiveSec=30min\nOnUnitActiveSec=30min",
                    "OnActiveSec=15min\nOnUnitActiveSec=15min",
                )),
            )],
            ..change("sync", Action::Update, Cause::Spec, R::SpecChanged)
        },
        change("token", Action::Update, Cause::Schedule, R::SpecChanged),
    ]
}

pub fn drift() -> Vec<Drift> {
    let field = |level, field: &str, applied: Option<&str>, observed: Option<&str>| DriftField {
        level,
        field: field.to_owned(),
        applied: applied.map(str::to_owned),
        observed: observed.map(str::to_owned),
        ignored: false,
    };
    vec![
        Drift {
            address: address("archive"),
            fields: vec![DriftField {
                ignored: true,
                ..field(Level::Platform, "active", Some("yes"), Some("no"))
            }],
            notes: Vec::new(),
        },
        Drift {
            address: address("report"),
            fields: vec![
                field(Level::Platform, "enabled", Some("yes"), Some("no")),
                field(Level::Platform, "drop-in timer/50-x.conf", None, Some("[Timer] OnCalendar")),
                field(
                    Level::Definition,
                    "service [Service] Nice",
                    Some("0"),
                    None,
                ),
                field(
                    Level::Command,
                    "service [Service] ExecStart",
                    Some("/usr/local/bin/lorectl service run --project acme report"),
                    Some("/tmp/evil"),
                ),
            ],
            notes: vec!["/etc/systemd/system/service.d/10-all.conf applies to every service; it is left alone".to_owned()],
        },
    ]
}

fn steps() -> Vec<Step> {
    let system = "systemd-system";
    vec![
        step(1, "backup", "update", system),
        step(2, "index", "install", system),
        Step {
            depends_on: vec![StepId(2)],
            ..step(3, "sync", "update", system)
        },
        step(4, "report", "update", system),
        step(5, "mail", "remove", "worker"),
        Step {
            depends_on: vec![StepId(5)],
            ..step(6, "mail", "install", system)
        },
        Step {
            disruption: Disruption::None,
            undo: Undo::Never {
                reason: "GitLab revokes the old token at once".to_owned(),
            },
            ..step(7, "token", "update", "worker")
        },
        step(8, "old", "remove", system),
    ]
}

pub fn holds() -> Vec<Hold> {
    let hold = |name, reason: &str, lift| Hold {
        address: address(name),
        reason: reason.to_owned(),
        lift,
        code: None,
    };
    vec![hold(
        "mirror",
        "its circuit breaker is open after 10 failures",
        Lift::At {
            at: now().plus_seconds(1080),
        },
    )]
}

/// One of everything.
pub fn plan() -> Plan {
    Plan {
        subject: subject(),
        created_at: now(),
        changes: changes(),
        drift: drift(),
        steps: steps(),
        groups: std::collections::BTreeMap::new(),
        holds: holds(),
        refusals: Vec::new(),
        warnings: vec![
            "user `git` has no lingering: its timers stop when it logs out; `loginctl enable-linger git`".to_owned(),
        ],
    }
}

/// Twelve services to which nothing is done.
pub fn quiet_plan() -> Plan {
    Plan {
        changes: (0..12).map(|n| no_op(&format!("job{n:02}"))).collect(),
        drift: Vec::new(),
        steps: Vec::new(),
        holds: Vec::new(),
        warnings: Vec::new(),
        ..plan()
    }
}

/// Nothing but what is held, by each kind of lift.
pub fn held_plan() -> Plan {
    let hold = |name, reason: &str, lift| Hold {
        address: address(name),
        reason: reason.to_owned(),
        lift,
        code: Some(Code::Held),
    };
    Plan {
        holds: vec![
            hold(
                "job03",
                "paused since Mon 07:00 UTC, AUTH_FAILED: GitLab returned 401 Unauthorized",
                Lift::ByHand {
                    how: "`lorectl service resume job03`".to_owned(),
                },
            ),
            hold(
                "job04",
                "a run is in flight since 09:10 UTC",
                Lift::Later {
                    what: "that run, by 09:26 UTC at the latest".to_owned(),
                },
            ),
            hold(
                "job05",
                "backing off",
                Lift::At {
                    at: now().plus_seconds(86_400),
                },
            ),
        ],
        ..quiet_plan()
    }
}

/// A plan that may be looked at only.
pub fn refused_plan() -> Plan {
    let mut plan = quiet_plan();
    for change in plan.changes.iter_mut().take(4) {
        change.action = Action::Delete;
        change.cause = Some(Cause::Spec);
        change.reason = ActionReason::RemovedFromSpec;
    }
    plan.refusals = vec![
        Refusal {
            code: Code::MassDeletion,
            address: None,
            message: "4 of 12 resources would be deleted: backup.toml, which declared them, is not in the spec that was loaded".to_owned(),
            suggestion: Some("if that is meant, run `lorectl apply --allow-deletes`".to_owned()),
        },
        Refusal {
            code: Code::Protected,
            address: Some(address("job02")),
            message: "it was applied with `protect = true`".to_owned(),
            suggestion: None,
        },
    ];
    plan
}

/// A failure after which everything connected was put back.
pub fn undone_report() -> Report {
    Report {
        applied: vec![
            (address("a"), Action::Create),
            (address("e"), Action::Create),
        ],
        failed: vec![Failure {
            address: address("c"),
            message: "its timer did not start: Operation refused, unit lorectl-acme.c.timer may be requested by \
                      dependency only"
                .to_owned(),
        }],
        undone: vec![address("b"), address("d")],
        serial: 42,
        backed_up: vec!["/etc/systemd/system/lorectl-acme.c.timer.d/50-x.conf".to_owned()],
        ..Report::default()
    }
}

/// A failure after which something could not be put back, and something was held.
pub fn failed_report() -> Report {
    Report {
        undone: vec![address("d")],
        not_undone: vec![Failure {
            address: address("b"),
            message:
                "cannot write /etc/systemd/system/lorectl-acme.b.service: No space left on device"
                    .to_owned(),
        }],
        held: vec![Holding {
            address: address("f"),
            message: "a run is in flight since 09:10 UTC".to_owned(),
            until: None,
        }],
        backed_up: Vec::new(),
        ..undone_report()
    }
}

fn last_run(outcome: RunOutcome, seconds_ago: i64, duration_ms: u64) -> LastRun {
    LastRun {
        outcome,
        ended_at: now().plus_seconds(-seconds_ago),
        duration_ms,
    }
}

/// A resource in most states that there are, in no order.
pub fn status() -> Status {
    let row = |name, state, next: Option<i64>, last_run| Row {
        address: address(name),
        state,
        next_run: next.map(|seconds| now().plus_seconds(seconds)),
        last_run,
        held: None,
        why: None,
    };
    Status {
        project: "acme".to_owned(),
        host: "web1".to_owned(),
        serial: 41,
        at: now(),
        resources: vec![
            row(
                "backup",
                State::Idle,
                Some(62_280),
                Some(last_run(RunOutcome::Success, 24_000, 754_000)),
            ),
            row(
                "archive",
                State::Idle,
                Some(600),
                Some(last_run(RunOutcome::Success, 1200, 3100)),
            ),
            row(
                "fetch",
                State::Running,
                Some(1080),
                Some(last_run(RunOutcome::Success, 1800, 12_500)),
            ),
            row("index", State::New, Some(21_600), None),
            Row {
                why: Some("docs: I/O error writing documents".to_owned()),
                ..row(
                    "lore",
                    State::Degraded,
                    Some(300),
                    Some(last_run(RunOutcome::Degraded, 900, 12_500)),
                )
            },
            Row {
                held: Some(Held::of(&holds()[0])),
                ..row(
                    "mirror",
                    State::Backoff,
                    Some(1080),
                    Some(last_run(RunOutcome::Failed, 720, 900)),
                )
            },
            Row {
                why: Some("platform: enabled; definition: service [Service] Nice".to_owned()),
                ..row(
                    "report",
                    State::Drifted,
                    None,
                    Some(last_run(RunOutcome::Success, 172_800, 60_000)),
                )
            },
            Row {
                held: Some(Held {
                    reason: "AUTH_FAILED: GitLab returned 401 Unauthorized".to_owned(),
                    until: None,
                    lifted_by: Some("`lorectl service resume sync`".to_owned()),
                }),
                ..row(
                    "sync",
                    State::Paused,
                    None,
                    Some(last_run(RunOutcome::Failed, 10_800, 1250)),
                )
            },
        ],
        notes: vec![
            "no worker runs: `lorectl worker` must be started for service.fetch".to_owned(),
        ],
    }
}

/// The same services as their list shows them.
pub fn service_list() -> List {
    let schedules = [
        "30 2 * * *  Europe/Paris",
        "every 30m",
        "every 6h",
        "every 1d",
    ];
    let rows = status().resources.into_iter().enumerate();
    List {
        project: "acme".to_owned(),
        at: now(),
        services: rows
            .map(|(at, row)| ListRow {
                name: row.address.name.to_string(),
                service_id: "0123456789ab".to_owned(),
                state: row.state,
                scheduler_state: "idle".to_owned(),
                schedule: schedules[at % schedules.len()].to_owned(),
                interval_seconds: None,
                profile: None,
                platform_state: PlatformState::Loaded,
                drift: Some(at == 1),
                installed_at_iso: now(),
                platform: if at == 2 { "worker" } else { "systemd-system" }.to_owned(),
                next_run: row.next_run,
                last_run: row.last_run,
            })
            .collect(),
    }
}

fn undelivered() -> Vec<Undelivered> {
    vec![
        Undelivered {
            to: "ops".to_owned(),
            waiting: 2,
            given_up: 1,
            last_error: Some("it answered 503".to_owned()),
            next_try: Some(now().plus_seconds(240)),
        },
        Undelivered {
            to: "ping".to_owned(),
            waiting: 0,
            given_up: 0,
            last_error: Some("no answer in time".to_owned()),
            next_try: None,
        },
    ]
}

/// One service with all that can be said of one.
pub fn service_status() -> ServiceStatus {
    let stage = |name: &str, outcome, duration_ms, optional, items, error: Option<&str>| Stage {
        name: name.to_owned(),
        outcome,
        duration_ms,
        optional,
        items_updated: items,
        error: error.map(str::to_owned),
        error_code: None,
    };
    let run = |ago: i64, duration_ms, outcome, error: Option<&str>| Run {
        started_at: now().plus_seconds(-ago),
        duration_ms,
        outcome,
        error: error.map(str::to_owned),
        stages: Vec::new(),
    };
    ServiceStatus {
        name: "sync".to_owned(),
        project: "acme".to_owned(),
        at: now(),
        installed: true,
        service_id: Some("0123456789ab".to_owned()),
        description: Some("GitLab to the local index".to_owned()),
        state: State::Backoff,
        scheduler_state: "backoff".to_owned(),
        paused_reason: None,
        backoff: Some(Backoff {
            consecutive_failures: 3,
            next_retry_iso: Some(now().plus_seconds(1080)),
            remaining_seconds: 1080,
            backoff_reason: "drawn",
            circuit_breaker_cooldown_expired: false,
            message: "3 failures in a row".to_owned(),
        }),
        interval_seconds: Some(1800),
        profile: Some("balanced".to_owned()),
        platform_state: PlatformState::Loaded,
        held: Some(Held {
            reason: "3 failures in a row, the last one NETWORK".to_owned(),
            until: Some(now().plus_seconds(1080)),
            lifted_by: None,
        }),
        schedule: Some("every 30m".to_owned()),
        platform: Some("systemd-system".to_owned()),
        user: Some("git".to_owned()),
        next_runs: [1080, 2880, 86_400]
            .map(|ahead| now().plus_seconds(ahead))
            .to_vec(),
        next_fires: Vec::new(),
        next_in_zone: None,
        running_since: None,
        runs: vec![
            Run {
                stages: vec![
                    stage("issues", RunOutcome::Success, 4100, false, Some(5), None),
                    stage("mrs", RunOutcome::Success, 7300, false, Some(1), None),
                    stage(
                        "docs",
                        RunOutcome::Failed,
                        1000,
                        true,
                        None,
                        Some("I/O error writing documents"),
                    ),
                    stage("embeddings", RunOutcome::Skipped, 0, true, None, None),
                ],
                ..run(720, 12_500, RunOutcome::Degraded, None)
            },
            run(
                2520,
                11_800,
                RunOutcome::Failed,
                Some("issues: GitLab returned 502 Bad Gateway"),
            ),
            run(
                4320,
                0,
                RunOutcome::Skipped,
                Some("the last run was still under way"),
            ),
            run(90_000, 11_800, RunOutcome::Success, None),
        ],
        consecutive_failures: 3,
        skipped: [("backoff".to_owned(), 2), ("paused".to_owned(), 5)].into(),
        last_skip: Some(SkipData {
            timestamp_iso: now().plus_seconds(-4320),
            reason: "backoff".to_owned(),
        }),
        drift: Some(Levels {
            platform_drift: true,
            spec_drift: false,
            command_drift: true,
        }),
        unit: Some("lorectl-acme.sync.timer".to_owned()),
        undelivered: undelivered(),
        notes: vec![
            "status.json could not be read and was set aside as status.json.bad".to_owned(),
        ],
    }
}

/// A run that was asked for and did not take place.
pub fn trigger() -> Trigger {
    Trigger {
        name: "sync".to_owned(),
        at: now(),
        action: "skipped".to_owned(),
        outcome: RunOutcome::Skipped,
        run: None,
        held: None,
        profile: None,
        consecutive_failures: 0,
        reason: None,
        message: None,
        suggestion: None,
        next_retry: None,
        remaining_seconds: None,
        next_due: None,
        warnings: Vec::new(),
    }
}
