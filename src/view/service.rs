//! The `service` commands: the list, one service in full, its logs, a triggered run.

mod list;
mod logs;
mod status;
mod trigger;
mod verbs;

pub use list::{List, ListRow, render as render_list};
pub use logs::{LogLine, Logs, Stream, write as write_logs};
pub use status::{Run, ServiceStatus, Stage, render as render_status};
pub use trigger::{Trigger, render as render_trigger};
