//! Units that read what is delivered, and are asked to read it anew.

use crate::{
    effect::dbus::Active,
    error::{Code, Error, Result},
};

use super::Store;

/// Units that were asked to reload, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    reloaded: Vec<String>,
    /// Those that could not, and why.
    refused: Vec<(String, String)>,
}

impl Asked {
    /// That some could not.
    pub(super) fn error(&self) -> Option<Error> {
        let (first, _) = self.refused.first()?;
        let all = self.refused.iter();
        let all: Vec<String> = all
            .map(|(unit, why)| format!("{unit} cannot be reloaded: {why}"))
            .collect();
        let help = format!("look at `systemctl status {first}`");
        Some(Error::new(Code::ApplyFailed, all.join("; ")).suggest(help))
    }
}

impl Store {
    /// Has units that are active reload.
    ///
    /// # Errors
    /// When the manager does not answer; what a unit says is in what is returned.
    pub(super) async fn reload(&self, mut units: Vec<String>) -> Result<Asked> {
        units.sort_unstable();
        units.dedup();
        let mut asked = Asked::default();
        if units.is_empty() {
            return Ok(asked);
        }
        // What does not run reads the new value when it starts.
        let units = self.active(&units).await?;
        let results = self.manager.reload_units(&units).await?;
        for (unit, result) in units.into_iter().zip(results) {
            match result {
                Ok(()) => asked.reloaded.push(unit),
                Err(why) => asked.refused.push((unit, why)),
            }
        }
        Ok(asked)
    }

    /// Those of some units that run.
    pub(super) async fn active(&self, units: &[String]) -> Result<Vec<String>> {
        let states = self.manager.states(units).await?;
        let active = units.iter().zip(states);
        let active = active.filter(|(_, state)| state.active == Active::Active);
        Ok(active.map(|(unit, _)| unit.clone()).collect())
    }

    /// Has those read what was put back whom a step that failed had asked to reload.
    pub(super) async fn reload_again(&self, asked: &Asked) -> Result<Vec<String>> {
        let refused = asked.refused.iter().map(|(unit, _)| unit);
        let units: Vec<String> = asked.reloaded.iter().chain(refused).cloned().collect();
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let again = self.reload(units.clone()).await?;
        // One that ends of it may do so only now.
        let up = self.active(&units).await?;
        let (mut doubts, mut wrong) = (Vec::new(), Vec::new());
        for unit in units {
            let is_refused = again.refused.iter().any(|(one, _)| *one == unit);
            if !up.contains(&unit) {
                wrong.push(format!(
                    "{unit} ran, and does not since it was asked to reload"
                ));
            } else if is_refused && asked.reloaded.contains(&unit) {
                wrong.push(format!(
                    "{unit} has read the new value, and cannot be reloaded again"
                ));
            } else if is_refused {
                doubts.push(format!(
                    "what was delivered is put back; {unit} runs as before and was asked to reload once more, which failed too, so it cannot be told which of the two values it holds: `systemctl restart {unit}` gives it the one that is there"
                ));
            }
        }
        if wrong.is_empty() {
            Ok(doubts)
        } else {
            Err(Error::new(Code::UndoFailed, wrong.join("; ")))
        }
    }
}
