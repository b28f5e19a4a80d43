//! Index of transactions, started and stopped with the chain.

use super::{Node, NodeError};
use crate::transaction_index::{
    DIRECTORY, HistoryError, HistoryPage, HistoryQuery, IndexParts, IndexStatus, TransactionIndex,
};
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

impl Node {
    /// Returns a page of the chain's transactions, the newest first.
    ///
    /// # Errors
    /// Fails if the node has no index (`transaction_index`), if the block of the cursor left the
    /// chain, or if a file of the index is damaged and not replaced yet.
    pub fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        // Not locked while files are read.
        let view = self.index().as_ref().map(TransactionIndex::view);
        view.ok_or(HistoryError::Off)?.history(query)
    }

    /// Returns the state of the index; `None` if the node has none.
    #[must_use]
    pub fn index_status(&self) -> Option<IndexStatus> {
        let index = self.index();
        index.as_ref().map(|index| index.view().status())
    }

    /// Starts the index if it is configured. `directory` is that of the chain.
    pub(super) fn start_index(&self, directory: Option<&Path>) -> Result<(), NodeError> {
        let wanted = directory.filter(|_| self.settings.transaction_index);
        let Some(directory) = wanted else {
            return Ok(());
        };
        let started = TransactionIndex::start(IndexParts {
            store: self.store.clone(),
            view: self.chain.clone(),
            directory: directory.join(DIRECTORY),
            chain_id: self.settings.chain_id,
            failure: self.failure.clone(),
        });
        *self.index() = Some(started.map_err(NodeError::ChainThread)?);
        Ok(())
    }

    pub(super) fn stop_index(&self) {
        // Taken out first, so that the lock is not held while the thread stops.
        let index = self.index().take();
        drop(index);
    }

    fn index(&self) -> MutexGuard<'_, Option<TransactionIndex>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
