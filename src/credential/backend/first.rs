//! First values, which are stored together: a thousand of them take a few syncs of the disk.

use std::path::PathBuf;

use secrecy::zeroize::Zeroizing;

use crate::{
    credential::record::{MODE, Record},
    effect::disk::NewFile,
    error::{Error, Result},
    id::ResourceName,
    resource::{Outcome, Progress, Step},
};

use super::{Store, undo::Memento, units::Asked};

/// How many values wait for their storing at most: so much of an apply is lost with the power.
const MOST: usize = 256;

/// A value and its record that are to be stored. Nothing is there of its credential that could be lost.
pub(super) struct First {
    value: (PathBuf, Zeroizing<Vec<u8>>),
    record: (PathBuf, Zeroizing<Vec<u8>>),
}

/// Those of a batch that wait, each with the place of its step.
#[derive(Default)]
pub(super) struct Firsts(Vec<(usize, First, Memento)>);

impl Firsts {
    pub(super) fn add(&mut self, at: usize, (first, memento): (First, Memento)) {
        self.0.push((at, first, memento));
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }
}

impl Store {
    /// The two files of a first value.
    pub(super) fn first(
        &self,
        name: &ResourceName,
        value: Zeroizing<Vec<u8>>,
        record: &Record,
    ) -> Result<First> {
        let bytes = record.encoded(self.disk.as_ref(), &self.layout, name)?;
        Ok(First {
            value: (self.layout.secret_value(name), value),
            record: (self.layout.secret_record(name), bytes),
        })
    }

    /// Stores what waits, and says what became of its steps.
    pub(super) async fn store_firsts(
        &self,
        batch: &[Step],
        firsts: &mut Firsts,
        outcomes: &mut [Option<Outcome>],
        progress: &Progress<'_>,
    ) {
        let firsts = std::mem::take(&mut firsts.0);
        let own = self.disk.identity();
        // A value is there before the record that tells of it.
        let files = firsts.iter().flat_map(|(_, first, _)| {
            let (value, record) = (&first.value, &first.record);
            let value = (&value.0, value.1.as_slice(), Some(own));
            [value, (&record.0, record.1.as_slice(), None)]
        });
        let files: Vec<NewFile<'_>> = files
            .map(|(path, bytes, owner)| NewFile {
                path,
                bytes,
                mode: MODE,
                owner,
            })
            .collect();
        let written = self.disk.write_all(&files);
        let written = written.map_err(|error| {
            let dir = self.layout.secrets();
            Error::io("write in", &dir, error)
        });
        for (at, _, memento) in firsts {
            let (Some(step), Some(place)) = (batch.get(at), outcomes.get_mut(at)) else {
                continue;
            };
            let outcome = match &written {
                Ok(()) => {
                    self.keep(step, memento);
                    Outcome::Done
                }
                Err(error) => {
                    let asked = Asked::default();
                    self.failed(step, error, &memento, &asked).await
                }
            };
            progress(step.id, &outcome);
            *place = Some(outcome);
        }
    }
}
