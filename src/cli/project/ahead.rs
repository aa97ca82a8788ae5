//! What an apply would meet on this host, looked at before a plan is made.

use crate::{
    credential::outlook::{self, Subject},
    error::Result,
    id::Kind,
    observe::Situation,
    resource::Seen,
};

use super::Project;

impl Project<'_> {
    /// Looks at what an apply of the wanted credentials would meet. Only the disk is looked at, and
    /// systemd asked, once.
    ///
    /// # Errors
    /// What a definition cannot be read for.
    pub(super) async fn look_ahead(&self, situation: &Situation) -> Result<()> {
        let mut subjects = Vec::new();
        for (address, desired) in &situation.wish.desired {
            if address.kind != Kind::Credential {
                continue;
            }
            let is_changed = match situation.observed.resources.get(address) {
                Some(Seen::Ours(found)) => found.image != desired.image,
                Some(Seen::Foreign { .. } | Seen::Unknown { .. }) => false,
                None => true,
            };
            // A thousand definitions are not read for the few of which there is something to look at.
            let json = desired.definition.as_json();
            let may_matter = ["\"reload\":", "\"command\":"];
            if !is_changed && !may_matter.iter().any(|key| json.contains(key)) {
                continue;
            }
            subjects.push(Subject {
                address: address.clone(),
                credential: desired.definition.read()?,
                is_changed,
            });
        }
        let disk = self.context.disk.as_ref();
        let ahead = outlook::look(disk, &self.context.account, &subjects).await;
        self.ahead.replace(ahead);
        Ok(())
    }
}
