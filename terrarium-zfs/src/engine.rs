//! What another engine than the kernel's needs to do as [`ZfsCore`](crate::ZfsCore) does, in the same words.
//!
//! `terrarium-zpool` runs OpenZFS in a process and is such an engine. What lies here is what both
//! have in common: the channel programs, the checks before a call, and the errors of each call.

pub use crate::handle::{Batch, by_errno, properties_to_nvlist};
pub use crate::names::pool_of;
pub use crate::program::program_result;
pub use crate::promote::{CHECK_PROMOTE, check_promote_result, promote_error};
pub use crate::receive::{read_begin, receive_error};
pub use crate::send::send_error;
pub use crate::snapshots::{
    HoldList, destroy_by_guid, destroy_error, hold_list, holds, names_to_nvlist, release_list,
    set_user_properties, snapshot_each,
};

use crate::error::Error;
use crate::nvlist::NvList;

/// What can run a channel program with [`Limits::MAX`](crate::Limits::MAX).
pub trait Programs {
    /// Runs a program that may change the pool; it returns when that is on disk.
    ///
    /// # Errors
    /// As [`ZfsCore::channel_program`](crate::ZfsCore::channel_program).
    fn run_synchronous(
        &self,
        pool: &str,
        program: &str,
        arguments: &NvList,
    ) -> Result<NvList, Error>;
}
