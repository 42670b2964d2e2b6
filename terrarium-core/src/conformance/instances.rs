//! What [`Instances`] must do, be it LXD, a pool file or a fake.
//!
//! Where [nothing runs](Instances::runs_instances), a case that needs a running instance checks that none can be
//! started, and that all else of it holds.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

use crate::{
    CommandOutput, Definition, InstanceKind, InstanceRecord, InstanceRef, InstanceState, Instances,
    InstancesError, ProjectName, Stop,
};

/// Names every case, to a macro of the caller that makes tests of them; see [`zfs_cases!`](crate::zfs_cases).
#[macro_export]
macro_rules! instances_cases {
    ($each:ident) => {
        $each! {
            what_is_not_there_is_none_and_stays_so
            an_instance_is_listed_as_it_is_read
            a_pool_on_zfs_has_a_dataset
            the_profiles_of_a_project_are_read
            every_project_is_listed_with_its_config
            an_empty_instance_is_created_as_defined
            an_instance_is_not_created_over_another
            an_instance_without_files_does_not_start
            a_start_or_stop_of_what_does_so_already_is_no_error
            a_stop_that_the_guest_ignores_times_out_and_force_ends_it
            a_command_runs_and_how_it_ends_is_told
            a_command_that_goes_on_is_not_waited_for
            what_cannot_be_run_is_refused
            config_keys_are_set_and_removed
            a_new_definition_keeps_what_lxd_notes_itself
            the_id_map_of_the_files_can_be_told
            a_snapshot_is_recorded_with_the_definition_of_its_moment
            a_snapshot_expires_when_asked_and_not_otherwise
            a_snapshot_is_not_taken_twice_and_can_be_deleted_twice
            a_running_instance_is_not_deleted
            an_instance_is_deleted_with_its_snapshots
        }
    };
}

/// An implementation of [`Instances`], and instances to try it on. Before each case they are as they were made.
pub trait InstancesRig: Sync {
    /// The implementation's type.
    type Instances: Instances;

    /// The implementation under test.
    fn instances(&self) -> &Self::Instances;

    /// A stopped container without snapshots, whose guest heeds a request to shut down. It has the profile `default`,
    /// which gives it its root disk on ZFS.
    fn guest(&self) -> InstanceRef {
        named("guest")
    }

    /// The same with a guest that ignores the request.
    fn stubborn(&self) -> InstanceRef {
        named("stubborn")
    }

    /// A name that no instance has. What is made of that name is removed with the rig.
    fn free(&self) -> InstanceRef {
        named("free")
    }
}

fn named(name: &str) -> InstanceRef {
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}

const LONG_ENOUGH: Stop = Stop::Graceful(Duration::from_secs(60));

#[track_caller]
fn done<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

async fn read(rig: &impl InstancesRig, id: &InstanceRef) -> InstanceRecord {
    let found = done(rig.instances().get(id).await);
    found.unwrap_or_else(|| panic!("there is no {id}"))
}

async fn set(rig: &impl InstancesRig, id: &InstanceRef, changes: &[(&str, Option<&str>)]) {
    let owned = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    let changes: BTreeMap<_, _> = changes.iter().map(owned).collect();
    done(rig.instances().set_config(id, &changes).await);
}

/// Starts an instance. Where nothing runs, a start must be refused and leave it stopped; then the answer is `false`.
async fn starts(rig: &impl InstancesRig, id: &InstanceRef) -> bool {
    let started = rig.instances().start(id).await;
    if rig.instances().runs_instances() {
        done(started);
        return true;
    }
    match started {
        Err(InstancesError::DoesNotRun { instance }) => assert_eq!(instance, *id),
        other => panic!("a refusal of any start was expected, not {other:?}"),
    }
    assert_eq!(read(rig, id).await.state, InstanceState::Stopped);
    false
}

/// What the case asks for is LXD's to refuse, not a time that ran out or an answer without sense.
#[track_caller]
fn assert_refused<T>(done: Result<T, InstancesError>) {
    match done {
        Err(
            InstancesError::Lxd { .. }
            | InstancesError::Pool { .. }
            | InstancesError::DoesNotRun { .. },
        ) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a refusal was expected"),
    }
}

/// The definition of an instance that LXD would take: like the guest's, with a key of its own.
async fn definition(rig: &impl InstancesRig) -> Definition {
    let guest = read(rig, &rig.guest()).await.definition;
    let mut definition = Definition {
        architecture: guest.architecture,
        profiles: vec!["default".to_owned()],
        ..Definition::default()
    };
    let config = [("user.note", "a \"b\" \u{e9}"), ("limits.memory", "64MiB")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    definition.config = BTreeMap::from(config);
    definition
}

/// To delete it is no error, to do anything else with it is.
pub async fn what_is_not_there_is_none_and_stays_so(rig: &impl InstancesRig) {
    let (free, instances) = (rig.free(), rig.instances());
    assert_eq!(done(instances.get(&free).await), None);
    assert_refused(instances.start(&free).await);
    assert_refused(instances.stop(&free, LONG_ENOUGH).await);
    assert_refused(instances.set_config(&free, &BTreeMap::new()).await);
    assert_refused(instances.create_snapshot(&free, "x", None).await);
    done(instances.delete(&free).await);
    done(instances.delete_snapshot(&free, "x").await);
    assert_eq!(done(instances.get(&free).await), None);
}

/// With its snapshots, and what profiles add.
pub async fn an_instance_is_listed_as_it_is_read(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    done(instances.create_snapshot(&guest, "x", None).await);
    let one = read(rig, &guest).await;
    let mut listed = done(instances.list().await).into_iter();
    assert_eq!(
        listed.find(|record| record.id == guest).as_ref(),
        Some(&one)
    );
    assert_eq!(one.id, guest);
    assert_eq!(one.kind, InstanceKind::Container);
    assert_eq!(one.state, InstanceState::Stopped);
    assert_eq!(one.snapshots.len(), 1);
    let mut devices = one.expanded_devices.values();
    let root = devices.find(|device| device.get("path").is_some_and(|path| path == "/"));
    assert!(
        root.is_some_and(|root| root.contains_key("pool")),
        "{one:?}"
    );
    assert_eq!(
        one.definition.devices,
        BTreeMap::new(),
        "the profile's are not its own"
    );
}

/// The one that LXD was given.
pub async fn a_pool_on_zfs_has_a_dataset(rig: &impl InstancesRig) {
    let pools = done(rig.instances().pools().await);
    let on_zfs = pools.iter().find(|pool| pool.driver == "zfs");
    let dataset = on_zfs.and_then(|pool| pool.dataset.as_deref());
    assert!(
        dataset.is_some_and(|dataset| !dataset.is_empty()),
        "{pools:?}"
    );
}

/// With their devices.
pub async fn the_profiles_of_a_project_are_read(rig: &impl InstancesRig) {
    let project = ProjectName::default_project();
    let profiles = done(rig.instances().profiles(&project).await);
    let default = profiles.iter().find(|profile| profile.name == "default");
    assert!(
        default.is_some_and(|profile| !profile.devices.is_empty()),
        "{profiles:?}"
    );
}

/// That of the guest, and `default`, which there always is; each once.
pub async fn every_project_is_listed_with_its_config(rig: &impl InstancesRig) {
    let projects = done(rig.instances().projects().await);
    let guest = rig.guest().project;
    for name in [&ProjectName::default_project(), &guest] {
        let found = projects.iter().filter(|project| project.name == *name);
        assert_eq!(found.count(), 1, "{projects:?}");
    }
    let default = projects.iter().find(|project| project.name.is_default());
    let features = default.and_then(|project| project.config.get("features.profiles"));
    let of_a_pool_file = !rig.instances().runs_instances();
    assert_eq!(features.is_none(), of_a_pool_file, "{projects:?}");
}

/// Stopped, and with nothing of its own but that.
pub async fn an_empty_instance_is_created_as_defined(rig: &impl InstancesRig) {
    let (free, instances) = (rig.free(), rig.instances());
    let wanted = definition(rig).await;
    done(instances.create_empty(&free, &wanted).await);
    let made = read(rig, &free).await;
    assert_eq!(made.definition.without_volatile(), wanted);
    assert_eq!(made.kind, InstanceKind::Container);
    assert_eq!(made.state, InstanceState::Stopped);
    assert_eq!(made.snapshots, []);
}

/// Which stays as it is.
pub async fn an_instance_is_not_created_over_another(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    let before = read(rig, &guest).await;
    assert_refused(instances.create_empty(&guest, &definition(rig).await).await);
    assert_eq!(read(rig, &guest).await, before);
    starts(rig, &guest).await;
}

/// The error comes at the start, not after it.
pub async fn an_instance_without_files_does_not_start(rig: &impl InstancesRig) {
    let (free, instances) = (rig.free(), rig.instances());
    done(instances.create_empty(&free, &definition(rig).await).await);
    assert_refused(instances.start(&free).await);
    assert_eq!(read(rig, &free).await.state, InstanceState::Stopped);
}

/// And what was asked for is there on return.
pub async fn a_start_or_stop_of_what_does_so_already_is_no_error(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    for _ in 0..2 {
        if starts(rig, &guest).await {
            assert_eq!(read(rig, &guest).await.state, InstanceState::Running);
        }
    }
    for _ in 0..2 {
        done(instances.stop(&guest, LONG_ENOUGH).await);
        assert_eq!(read(rig, &guest).await.state, InstanceState::Stopped);
    }
}

/// Until then it runs.
pub async fn a_stop_that_the_guest_ignores_times_out_and_force_ends_it(rig: &impl InstancesRig) {
    let (stubborn, instances) = (rig.stubborn(), rig.instances());
    if !starts(rig, &stubborn).await {
        return;
    }
    let limit = Duration::from_secs(2);
    match instances.stop(&stubborn, Stop::Graceful(limit)).await {
        Err(InstancesError::StopTimedOut { instance, timeout }) => {
            assert_eq!((instance, timeout), (stubborn.clone(), limit));
        }
        other => panic!("the time was expected to run out, not {other:?}"),
    }
    assert_eq!(read(rig, &stubborn).await.state, InstanceState::Running);
    let limit = Duration::from_secs(1);
    done(instances.stop(&stubborn, Stop::ThenForce(limit)).await);
    assert_eq!(read(rig, &stubborn).await.state, InstanceState::Stopped);
}

/// The shell that is to be in it, and what the case gives it.
const COMMAND: [&str; 3] = ["sh", "-c", "echo out; echo err >&2; exit 3"];

/// What a rig's commands do that has no processes: all that the cases run is there.
///
/// # Errors
/// For any other command, as LXD fails one that is not there.
pub fn answer(command: &[String]) -> Result<CommandOutput, String> {
    if command == COMMAND {
        return Ok(CommandOutput {
            exit_code: 3,
            stdout: b"out\n".to_vec(),
            stderr: b"err\n".to_vec(),
        });
    }
    Err("Command not found".to_owned())
}

async fn run(
    rig: &impl InstancesRig,
    id: &InstanceRef,
    command: &[&str],
    limit: Duration,
) -> Result<CommandOutput, InstancesError> {
    let command: Vec<_> = command.iter().copied().map(str::to_owned).collect();
    rig.instances().exec(id, &command, limit).await
}

/// With what it printed.
pub async fn a_command_runs_and_how_it_ends_is_told(rig: &impl InstancesRig) {
    let guest = rig.guest();
    if !starts(rig, &guest).await {
        return;
    }
    let ended = done(run(rig, &guest, &COMMAND, Duration::from_secs(60)).await);
    assert_eq!(
        (ended.exit_code, &ended.stdout[..], &ended.stderr[..]),
        (3, &b"out\n"[..], &b"err\n"[..])
    );
}

/// Longer than it was given. Its instance can be stopped all the same.
pub async fn a_command_that_goes_on_is_not_waited_for(rig: &impl InstancesRig) {
    let (stubborn, instances) = (rig.stubborn(), rig.instances());
    if !starts(rig, &stubborn).await {
        return;
    }
    let limit = Duration::from_secs(2);
    match run(rig, &stubborn, &["sh", "-c", "sleep 60"], limit).await {
        Err(InstancesError::CommandTimedOut { instance, timeout }) => {
            assert_eq!((instance, timeout), (stubborn.clone(), limit));
        }
        other => panic!("the time was expected to run out, not {other:?}"),
    }
    let force = Stop::ThenForce(Duration::from_secs(1));
    done(instances.stop(&stubborn, force).await);
}

/// Be it that the instance does not run, is not there, or has no such program.
pub async fn what_cannot_be_run_is_refused(rig: &impl InstancesRig) {
    let (guest, free) = (rig.guest(), rig.free());
    let limit = Duration::from_secs(60);
    assert_refused(run(rig, &guest, &COMMAND, limit).await);
    assert_refused(run(rig, &free, &COMMAND, limit).await);
    if starts(rig, &guest).await {
        assert_refused(run(rig, &guest, &["no-such-program"], limit).await);
    }
}

/// The others stay; one that is not there can be removed; whether it runs does not matter.
pub async fn config_keys_are_set_and_removed(rig: &impl InstancesRig) {
    let guest = rig.guest();
    let before = read(rig, &guest).await.definition;
    for running in [false, true] {
        if running && !starts(rig, &guest).await {
            break;
        }
        set(
            rig,
            &guest,
            &[("user.a", Some("1")), ("user.b", Some("x\ny"))],
        )
        .await;
        let more = [
            ("user.a", None),
            ("user.absent", None),
            ("user.c", Some("2")),
        ];
        set(rig, &guest, &more).await;
        let mut wanted = before.without_volatile();
        let added = [("user.b", "x\ny"), ("user.c", "2")];
        let added = added.map(|(key, value)| (key.to_owned(), value.to_owned()));
        wanted.config.extend(added);
        let after = read(rig, &guest).await.definition;
        assert_eq!(after.without_volatile(), wanted);
    }
}

/// Whatever stands in the new one under `volatile.*` does not count.
pub async fn a_new_definition_keeps_what_lxd_notes_itself(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    set(rig, &guest, &[("user.old", Some("1"))]).await;
    let before = read(rig, &guest).await.definition;
    let mut wanted = definition(rig).await;
    wanted.description = "as it was".to_owned();
    let disk = [("type", "disk"), ("source", "/var/tmp"), ("path", "/mnt")];
    let disk = disk.map(|(key, value)| (key.to_owned(), value.to_owned()));
    wanted
        .devices
        .insert("shared".to_owned(), BTreeMap::from(disk));

    let mut given = wanted.clone();
    let foreign = "11111111-2222-4333-8444-555555555555";
    given
        .config
        .insert("volatile.uuid".to_owned(), foreign.to_owned());
    done(instances.set_definition(&guest, &given).await);
    let after = read(rig, &guest).await.definition;
    assert_eq!(after.without_volatile(), wanted);
    assert_eq!(
        after.config.get("volatile.uuid"),
        before.config.get("volatile.uuid")
    );
    let idmap = "volatile.last_state.idmap";
    assert_eq!(after.config.get(idmap), before.config.get(idmap));
}

/// LXD believes it until the next start.
pub async fn the_id_map_of_the_files_can_be_told(rig: &impl InstancesRig) {
    let (guest, key) = (rig.guest(), crate::property::LXD_IDMAP);
    let had = read(rig, &guest).await.definition.config.remove(key);
    let map = r#"[{"Isuid":true,"Isgid":false,"Hostid":1500000,"Nsid":0,"Maprange":65536},{"Isuid":false,"Isgid":true,"Hostid":1500000,"Nsid":0,"Maprange":65536}]"#;
    for told in [map, had.as_deref().unwrap_or("[]")] {
        set(rig, &guest, &[(key, Some(told))]).await;
        let config = read(rig, &guest).await.definition.config;
        assert_eq!(config.get(key).map(String::as_str), Some(told));
    }
}

/// Later changes of the instance are not its.
pub async fn a_snapshot_is_recorded_with_the_definition_of_its_moment(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    set(rig, &guest, &[("user.note", Some("then"))]).await;
    let then = read(rig, &guest).await.definition;
    let before = Timestamp::now();
    done(instances.create_snapshot(&guest, "x-1.y_2", None).await);
    set(rig, &guest, &[("user.note", Some("now"))]).await;

    let snapshots = read(rig, &guest).await.snapshots;
    let [snapshot] = &snapshots[..] else {
        panic!("{snapshots:?}");
    };
    assert_eq!(snapshot.name, "x-1.y_2");
    assert_eq!(
        snapshot.definition.without_volatile(),
        then.without_volatile()
    );
    // LXD's record has seconds only where it was read back from its database.
    let created = snapshot.created.map(|created| created.as_second());
    assert!(created >= Some(before.as_second()), "{snapshot:?}");
}

/// Not even if the instance lets its snapshots expire.
pub async fn a_snapshot_expires_when_asked_and_not_otherwise(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    set(rig, &guest, &[("snapshots.expiry", Some("1d"))]).await;
    let time = Timestamp::from_second(Timestamp::now().as_second() + 7 * 86_400);
    let time = done(time);
    done(
        instances
            .create_snapshot(&guest, "some-day", Some(time))
            .await,
    );
    done(instances.create_snapshot(&guest, "never", None).await);
    let snapshots = read(rig, &guest).await.snapshots.into_iter();
    let expiries = snapshots.map(|snapshot| (snapshot.name, snapshot.expires));
    let wanted = [
        ("never".to_owned(), None),
        ("some-day".to_owned(), Some(time)),
    ];
    assert_eq!(expiries.collect::<BTreeMap<_, _>>(), BTreeMap::from(wanted));
}

/// The second try to take it leaves the first one as it is.
pub async fn a_snapshot_is_not_taken_twice_and_can_be_deleted_twice(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    done(instances.create_snapshot(&guest, "x", None).await);
    let before = read(rig, &guest).await.snapshots;
    assert_refused(instances.create_snapshot(&guest, "x", None).await);
    assert_eq!(read(rig, &guest).await.snapshots, before);
    for _ in 0..2 {
        done(instances.delete_snapshot(&guest, "x").await);
        assert_eq!(read(rig, &guest).await.snapshots, []);
    }
}

/// It is stopped first, by whoever decides that.
pub async fn a_running_instance_is_not_deleted(rig: &impl InstancesRig) {
    let (guest, instances) = (rig.guest(), rig.instances());
    if !starts(rig, &guest).await {
        return;
    }
    assert_refused(instances.delete(&guest).await);
    assert_eq!(read(rig, &guest).await.state, InstanceState::Running);
}

/// And is gone on return.
pub async fn an_instance_is_deleted_with_its_snapshots(rig: &impl InstancesRig) {
    let (free, instances) = (rig.free(), rig.instances());
    for _ in 0..2 {
        done(instances.create_empty(&free, &definition(rig).await).await);
        done(instances.create_snapshot(&free, "x", None).await);
        done(instances.delete(&free).await);
        assert_eq!(done(instances.get(&free).await), None);
    }
    done(instances.delete(&free).await);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_named_in_the_list() {
        macro_rules! names {
            ($($case:ident)*) => { [$(stringify!($case)),*] };
        }
        let lines = include_str!("instances.rs").lines();
        let written =
            lines.filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        assert!(written.eq(instances_cases!(names)));
    }
}
