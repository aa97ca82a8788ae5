//! The `service` commands: the list, one service in full, its logs, a triggered run.

mod data;
mod list;
mod logs;
mod status;
mod trigger;
mod verbs;

pub use data::{FireData, SkipData, StatusData, TriggerData};
pub use list::{List, ListRow, render as render_list};
pub use logs::{LogLine, Logs, Stream, write as write_logs};
pub use status::{
    Backoff, Levels, PlatformState, Run, ServiceStatus, Stage, Undelivered,
    render as render_status, undelivered,
};
pub use trigger::{Trigger, render as render_trigger};
pub use verbs::NotInstalled;
