//! The ZFS user properties that Terrarium keeps its own facts in.
//!
//! All are read only where they are set *locally*: a snapshot inherits its dataset's user properties,
//! and an inherited one says nothing about the snapshot.

/// How a snapshot came to be: `scheduled` or `on-demand`.
pub const KIND: &str = "terrarium:kind";
/// The name that a person gave to a restore point.
pub const ALIAS: &str = "terrarium:alias";
/// When a restore point may be removed, RFC 3339 in UTC.
pub const EXPIRES: &str = "terrarium:expires";
/// When a restore point was last restored or copied from, RFC 3339 in UTC.
pub const LAST_USED: &str = "terrarium:last-used";
/// The period that a scheduled snapshot was taken for.
pub const PERIOD: &str = "terrarium:period";
/// The id map that the files have on disk, as in LXD's `volatile.last_state.idmap`.
pub const IDMAP: &str = "terrarium:idmap";
/// A hash of the instance's LXD config, devices and profiles at the moment of the snapshot.
pub const CONFIG: &str = "terrarium:config";
/// What became of the command that was to be run in the instance before the snapshot: `done`, `failed`, `timed-out`,
/// `not-run`; nothing if there was none.
pub const PRE: &str = "terrarium:pre";
/// On a safety snapshot: the operation that took it.
pub const OPERATION: &str = "terrarium:operation";
/// The intent of an operation under way (on a dataset) or done (on its safety snapshot); continued in
/// `terrarium:intent.1`, `.2`, … where one value cannot hold it.
pub const INTENT: &str = "terrarium:intent";
/// Beside an intent: LXD was told which ids the files of the point have. What it says of them later is right.
pub const TOLD: &str = "terrarium:told";

/// On an instance's dataset: the UUID of its history in archives, carried along by restores in place.
pub const LINEAGE: &str = "terrarium:lineage";
/// Beside it, LXD's `volatile.uuid` of the instance: under another one it is a copy, with a history of its own.
pub const LINEAGE_OF: &str = "terrarium:lineage-of";

/// On an instance's dataset: whose snapshots count as scheduled ones of ours, carried along by restores in place.
pub const ADOPTED: &str = "terrarium:adopted";
/// The value of [`ADOPTED`]: sanoid's.
pub const ADOPTED_SANOID: &str = "sanoid";
/// On a dataset that a drill received: the throw-away instance that it is for, with its project.
pub const DRILL: &str = "terrarium:drill";

/// On a dataset in the graveyard: whose it was, and what it takes to come back; continued as [`INTENT`] is.
pub const GRAVE: &str = "terrarium:grave";
/// On a dataset that is being purged: since when. It is not whole any more.
pub const PURGING: &str = "terrarium:purging";

/// On the dataset `containers` of a pool file: what is kept of its instances beside their files.
pub const INSTANCES: &str = "terrarium:instances";

/// What a listing tells of snapshots: what makes one a restore point of a certain kind.
pub const OF_SNAPSHOTS: [&str; 9] = [
    KIND, ALIAS, EXPIRES, LAST_USED, PERIOD, IDMAP, CONFIG, PRE, OPERATION,
];

/// The LXD config key that marks an instance which a restore is still building.
pub const LXD_OPERATION: &str = "user.terrarium.operation";
/// The LXD config key that marks a throw-away instance of a drill with the drill's operation.
pub const LXD_DRILL: &str = "user.terrarium.drill";
/// The LXD config key that keeps an instance from being deleted.
pub const LXD_PROTECTION: &str = "security.protection.delete";
/// The LXD config key that names the image's templates to run at the next start.
pub const LXD_TEMPLATE: &str = "volatile.apply_template";
/// The LXD config key that holds the id map of the files on disk.
pub const LXD_IDMAP: &str = "volatile.last_state.idmap";
/// The LXD config key that tells an instance from all others, a copy of it included.
pub const LXD_UUID: &str = "volatile.uuid";
