//! What a manager knows of how its services ended.

use zbus::OwnedObjectPath;

use super::{
    CALL, Manager, through,
    timers::{Properties, take},
};
use crate::error::{Code, Result};

/// `CLD_EXITED` of waitid(2): it ended by itself.
const EXITED: i32 = 1;

impl Manager {
    /// The status with which the main process of a service's last run exited; where the manager could not
    /// begin it, one of those of systemd.exec(5), "Process Exit Codes". `None` where it was killed, runs, or
    /// is not known to the manager.
    ///
    /// # Errors
    /// As [`Self::states`].
    pub async fn exit_status(&self, service: &str) -> Result<Option<i32>> {
        if let Some(through) = &self.through {
            return through::exit_status(through, service).await;
        }
        let reply = match self.call("GetUnit", &service, CALL).await {
            Ok(reply) => reply,
            // It is not loaded.
            Err(error) if error.code == Code::Io => return Ok(None),
            Err(error) => return Err(error),
        };
        let path: OwnedObjectPath =
            (reply.body().deserialize()).map_err(|error| self.explain("GetUnit", error))?;
        let mut known: Properties = self.properties(&path, "Service").await?;
        let code: Option<i32> = take(&mut known, "ExecMainCode");
        let status: Option<i32> = take(&mut known, "ExecMainStatus");
        Ok(status.filter(|_| code == Some(EXITED)))
    }
}
