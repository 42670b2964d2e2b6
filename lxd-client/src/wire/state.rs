//! The running state of an instance, and changes to it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::nullable;

/// What an instance is doing at this moment.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InstanceState {
    /// The status in words: `Running`, `Stopped`, `Frozen`, ….
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// The status as a number: 103 running, 102 stopped, 110 frozen.
    #[serde(deserialize_with = "nullable")]
    pub status_code: i64,
    /// The host's process id of its init; 0 if stopped.
    #[serde(deserialize_with = "nullable")]
    pub pid: i64,
    /// How many processes it has; -1 if unknown.
    #[serde(deserialize_with = "nullable")]
    pub processes: i64,
    /// Processor time.
    #[serde(deserialize_with = "nullable")]
    pub cpu: CpuState,
    /// Memory in use.
    #[serde(deserialize_with = "nullable")]
    pub memory: MemoryState,
    /// Disk space in use, by disk device.
    #[serde(deserialize_with = "nullable")]
    pub disk: BTreeMap<String, DiskState>,
    /// Network interfaces as seen inside, by name.
    #[serde(deserialize_with = "nullable")]
    pub network: BTreeMap<String, NetworkState>,
}

/// Processor time used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CpuState {
    /// Nanoseconds since the start.
    #[serde(deserialize_with = "nullable")]
    pub usage: i64,
}

/// Memory used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MemoryState {
    /// Bytes in use.
    #[serde(deserialize_with = "nullable")]
    pub usage: i64,
    /// The most bytes that were in use.
    #[serde(deserialize_with = "nullable")]
    pub usage_peak: i64,
    /// Bytes of swap in use.
    #[serde(deserialize_with = "nullable")]
    pub swap_usage: i64,
    /// The most bytes of swap that were in use.
    #[serde(deserialize_with = "nullable")]
    pub swap_usage_peak: i64,
}

/// Disk space used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DiskState {
    /// Bytes in use.
    #[serde(deserialize_with = "nullable")]
    pub usage: i64,
}

/// A network interface as seen inside the instance.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NetworkState {
    /// Its addresses.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<NetworkAddress>,
    /// Its MAC address.
    #[serde(deserialize_with = "nullable")]
    pub hwaddr: String,
    /// The host's end of it.
    #[serde(deserialize_with = "nullable")]
    pub host_name: String,
    /// `up` or `down`.
    #[serde(deserialize_with = "nullable")]
    pub state: String,
    /// `broadcast`, `loopback`, ….
    #[serde(deserialize_with = "nullable")]
    pub r#type: String,
}

/// An address of a network interface.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NetworkAddress {
    /// `inet` or `inet6`.
    #[serde(deserialize_with = "nullable")]
    pub family: String,
    /// The address itself.
    #[serde(deserialize_with = "nullable")]
    pub address: String,
    /// The length of the network's prefix, as text.
    #[serde(deserialize_with = "nullable")]
    pub netmask: String,
    /// `local`, `link` or `global`.
    #[serde(deserialize_with = "nullable")]
    pub scope: String,
}

/// A request to change the running state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StateChange {
    /// What to do.
    pub action: StateAction,
    /// How long a stop or restart waits for the guest to shut down, rounded up to seconds; for ever if none. LXD
    /// fails the operation when it has run out, and the guest may still shut down later.
    ///
    /// Never sent as 0, which LXD takes for `force`.
    pub timeout: Option<Duration>,
    /// Stop without asking the guest.
    pub force: bool,
    /// Save the memory state on a stop, resume it on a start.
    pub stateful: bool,
}

impl StateChange {
    /// A change without time limit, force or memory state.
    pub fn new(action: StateAction) -> Self {
        StateChange {
            action,
            timeout: None,
            force: false,
            stateful: false,
        }
    }

    pub(crate) fn to_wire(self) -> Value {
        let timeout = match self.timeout {
            None => -1,
            // LXD multiplies by 10^9 in 64 bits: 68 years are no limit and no overflow.
            Some(limit) => {
                let seconds = limit
                    .as_secs()
                    .saturating_add((limit.subsec_nanos() > 0).into());
                i64::try_from(seconds.clamp(1, 1 << 31)).unwrap_or(i64::MAX)
            }
        };
        json!({
            "action": self.action.as_str(),
            "timeout": timeout,
            "force": self.force,
            "stateful": self.stateful,
        })
    }
}

/// What to do with a running or stopped instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StateAction {
    /// Start it.
    Start,
    /// Shut it down, or kill it with `force`.
    Stop,
    /// Stop, then start it.
    Restart,
    /// Stop its processes where they are.
    Freeze,
    /// Let its processes go on.
    Unfreeze,
}

impl StateAction {
    /// LXD's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            StateAction::Start => "start",
            StateAction::Stop => "stop",
            StateAction::Restart => "restart",
            StateAction::Freeze => "freeze",
            StateAction::Unfreeze => "unfreeze",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(limit: Option<Duration>) -> i64 {
        let change = StateChange {
            timeout: limit,
            ..StateChange::new(StateAction::Stop)
        };
        change.to_wire()["timeout"].as_i64().unwrap()
    }

    #[test]
    fn a_timeout_is_rounded_up_and_never_becomes_the_zero_that_kills() {
        assert_eq!(timeout(None), -1);
        assert_eq!(timeout(Some(Duration::ZERO)), 1);
        assert_eq!(timeout(Some(Duration::from_millis(1001))), 2);
        assert_eq!(timeout(Some(Duration::from_secs(30))), 30);
        assert_eq!(timeout(Some(Duration::MAX)), 1 << 31);
    }
}
