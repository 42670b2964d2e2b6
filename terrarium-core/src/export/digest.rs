//! The digest of a snapshot's tree, for a drill on a host that does not have the snapshot.

use terrarium_s3::Store;

use super::{ExportError, ExportPlan, ExportTo};
use crate::host::Session;
use crate::instances::Instances;
use crate::streams::Streams;

impl<Z: Streams, I: Instances> Session<'_, Z, I> {
    /// What is to be sealed as the digest of the tree, if that is asked for. The snapshot is held by now.
    pub(super) async fn digest<S: Store>(
        &self,
        plan: &ExportPlan,
        to: &ExportTo<'_, S>,
    ) -> Result<Option<String>, ExportError> {
        if !to.digest {
            return Ok(None);
        }
        let tree = self.planner.host.tree_of(plan.snapshot.clone()).await;
        let tree = tree.map_err(|source| ExportError::Tree {
            snapshot: plan.snapshot.clone(),
            source,
        })?;
        Ok(Some(tree.digest().to_string()))
    }
}
