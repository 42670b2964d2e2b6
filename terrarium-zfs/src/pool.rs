//! The state of a pool.

use std::path::PathBuf;

use serde::Serialize;

use crate::command;
use crate::error::{Attempt, Error};
use crate::handle::ZfsCore;

/// The state of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolHealth {
    /// Whether its devices are there.
    pub state: PoolState,
    /// Whether it is imported read-only.
    pub readonly: bool,
    /// Bytes that can still be written to its root dataset; 0 while the pool is suspended.
    pub free: u64,
}

impl PoolHealth {
    /// A pool's state, as a test double reports it.
    pub fn new(state: PoolState, readonly: bool, free: u64) -> Self {
        Self {
            state,
            readonly,
            free,
        }
    }
}

/// Whether a pool's devices are there (zpoolconcepts(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// All is well.
    Online,
    /// Works with lost redundancy.
    Degraded,
    /// Too many devices are lost or damaged.
    Faulted,
    /// A device was taken offline by hand.
    Offline,
    /// A device was removed while in use.
    Removed,
    /// A device cannot be opened.
    Unavailable,
    /// Input and output stand still until the devices are back.
    Suspended,
    /// A state that this version does not know.
    Unknown,
}

impl PoolState {
    /// The state of that name, as zpool(8) writes it.
    pub fn parse(text: &str) -> Self {
        match text {
            "ONLINE" => Self::Online,
            "DEGRADED" => Self::Degraded,
            "FAULTED" => Self::Faulted,
            "OFFLINE" => Self::Offline,
            "REMOVED" => Self::Removed,
            "UNAVAIL" => Self::Unavailable,
            "SUSPENDED" => Self::Suspended,
            _ => Self::Unknown,
        }
    }
}

impl ZfsCore {
    /// The state of a pool.
    ///
    /// libzfs_core 2.1 has no call for it: the state is read from the module's statistics
    /// (`/proc/spl/kstat/zfs/<pool>/state`, which a suspended pool does not block), the rest from
    /// `zpool get` and `zfs get`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no such pool is imported; [`Error::Unavailable`] if the programs are
    /// not installed.
    pub fn pool_health(&self, pool: &str) -> Result<PoolHealth, Error> {
        let operation = "examine pool";
        let state = state(pool).ok_or_else(|| Error::NotFound(Attempt::new(operation, pool)))?;
        let suspended = PoolHealth {
            state: PoolState::Suspended,
            readonly: false,
            free: 0,
        };
        if state == PoolState::Suspended {
            return Ok(suspended);
        }
        let value = |program, property| {
            let arguments = ["get", "-Hp", "-o", "value", property, "--", pool];
            command::lines(operation, pool, program, &arguments)
                .map(|lines| lines.first().cloned().unwrap_or_default())
        };
        let (free, readonly) = match (value("zfs", "available"), value("zpool", "readonly")) {
            // Since the look at the state.
            (Err(Error::Suspended(_)), _) | (_, Err(Error::Suspended(_))) => return Ok(suspended),
            (free, readonly) => (free?, readonly? == "on"),
        };
        let free = crate::ids::parse_decimal(&free).ok_or_else(|| {
            Error::unexpected(operation, pool, format!("available is \"{free}\""))
        })?;
        Ok(PoolHealth {
            state,
            readonly,
            free,
        })
    }
}

/// The state of an imported pool, `None` if there is none of that name.
pub(crate) fn state(pool: &str) -> Option<PoolState> {
    // A name with a slash or of dots would leave the directory.
    crate::names::DatasetName::new(pool)
        .ok()
        .filter(|name| name.parent().is_none())?;
    let path: PathBuf = ["/proc/spl/kstat/zfs", pool, "state"].iter().collect();
    let text = std::fs::read_to_string(path).ok()?;
    Some(PoolState::parse(text.trim()))
}
