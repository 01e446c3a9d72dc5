//! A session's commit: the component says where the records go, the stage writes them.

use crate::commit::stage::CommitStage;
use crate::delivery::ledger::{Failure, FailureClass, Ledger, WriteReport};
use crate::sandbox::runtime::Runtime;
use crate::sandbox::state::LaneContext;
use std::sync::Arc;

/// What a session needs to make a commit of its writes.
#[derive(Debug)]
pub(super) struct SessionCommit {
    pub(super) runtime: Arc<Runtime>,
    pub(super) settings: String,
    /// Of the instance that is asked for keys.
    pub(super) context: LaneContext,
    pub(super) stage: CommitStage,
}

impl SessionCommit {
    /// The attempt that has committed a table before, where that makes its rows unwanted: empty if nothing names it.
    ///
    /// # Errors
    /// The component fails, or the store cannot be asked.
    pub(super) async fn earlier(&self, table: &str) -> Result<Option<String>, Failure> {
        if !self.stage.skips_committed() {
            return Ok(None);
        }
        let keys = self.runtime.commit_keys(&self.settings, vec![table.to_owned()], self.context.clone()).await;
        let keys = keys.map_err(|error| Failure::new(FailureClass::Unexpected, format!("{error:#}")))?;
        let Some(Ok(keys)) = keys.into_iter().next() else {
            // A key that cannot be is reported with the table's objects, whose keys have the same rules.
            return Ok(None);
        };
        self.stage.earlier(&keys).await
    }

    /// Gives up what waits for the commit.
    pub(super) async fn discard(&self) {
        self.stage.discard().await;
    }

    /// Lets everything be seen, where it was to wait for every table; or nothing, if one has failed.
    pub(super) async fn publish(&self, ledger: &Ledger) {
        if !self.stage.is_deferred() {
            return;
        }
        let tables = ledger.claimed_tables();
        if let Some((table, failure)) = ledger.failures().first() {
            let failure = Failure::new(failure.class, format!("the table {table:?} has failed"));
            return self.stage.roll_back(ledger, &failure).await;
        }
        if tables.is_empty() {
            // Everything was committed before: there is nothing to make a commit of.
            return;
        }
        let names = tables.iter().map(|(table, _)| table.to_string()).collect();
        match self.runtime.commit_keys(&self.settings, names, self.context.clone()).await {
            Ok(keys) => self.stage.publish(ledger, &tables, keys).await,
            Err(error) => {
                let failure = Failure::new(FailureClass::Unexpected, format!("the records of the commit could not be named: {error:#}"));
                self.stage.roll_back(ledger, &failure).await;
            }
        }
    }

    /// Writes the records of the tables that have succeeded.
    pub(super) async fn conclude(&self, report: &mut WriteReport) {
        let tables = report.tables.iter().map(|table| table.table.clone()).collect();
        match self.runtime.commit_keys(&self.settings, tables, self.context.clone()).await {
            Ok(keys) => self.stage.conclude(report, keys).await,
            Err(error) => {
                let failure = Failure::new(FailureClass::Unexpected, format!("the manifests could not be named: {error:#}"));
                (0..report.tables.len()).for_each(|number| self.stage.fail(report, number, failure.clone()));
            }
        }
    }
}
