//! A store that ends with the program: for tests, which share one between the engines of several lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::memory::Memory;

use super::{Attempt, Batch, LAST_ATTEMPTS, Saved, Store, StoreError, Windows};

/// Clones are handles of the same store.
#[derive(Debug, Clone, Default)]
pub struct InMemory {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    memory: Memory,
    attempts: Vec<Attempt>,
    windows: BTreeMap<String, Vec<u8>>,
}

impl Store for InMemory {
    fn load(&mut self) -> Result<Saved, StoreError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = kept.windows.iter().map(|(slo, body)| Windows { slo: slo.clone(), body: body.clone() });
        Ok(Saved {
            memory: kept.memory.clone(),
            attempts: kept.attempts.iter().rev().take(LAST_ATTEMPTS).cloned().collect(),
            windows: windows.collect(),
            lost_windows: Vec::new(),
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        batch.changes.iter().for_each(|change| kept.memory.apply(change.clone()));
        kept.attempts.extend(batch.attempts.iter().cloned());
        kept.attempts.retain(|attempt| batch.forget_before.is_none_or(|before| attempt.at >= before));
        batch.forget_windows.iter().for_each(|slo| drop(kept.windows.remove(slo)));
        kept.windows.extend(batch.windows.iter().map(|windows| (windows.slo.clone(), windows.body.clone())));
        Ok(())
    }
}
