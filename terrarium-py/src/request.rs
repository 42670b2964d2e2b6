//! The requests, and what terrarium-core makes of them.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{Timestamp, Zoned};
use serde::Deserialize;
use serde_json::{Value, json};
use terrarium_core::plan::IdentityPolicy;
use terrarium_core::{
    Access, Alias, Begun, Checked, Coverage, Destination, Error, Guard, Host, InstanceRef,
    Instances, Inventory, Plan, Planner, Report, RestoreRequest, Session, Stop, Zfs,
};
use terrarium_zfs::{DatasetName, Properties};

use crate::failure::Failure;
use crate::site::Site;
use crate::watch::Watch;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    List,
    Snapshot {
        instances: Vec<InstanceRef>,
        alias: Option<String>,
        expires: Option<Timestamp>,
    },
    Restore {
        instance: InstanceRef,
        at: Option<String>,
        start: bool,
        stop: How,
    },
    RestoreAsNew {
        instance: InstanceRef,
        new: InstanceRef,
        at: Option<String>,
        start: bool,
    },
    Undo {
        instance: InstanceRef,
        start: bool,
        stop: How,
    },
    Guard {
        instance: InstanceRef,
        alias: Option<String>,
        expires: Timestamp,
    },
    Check {
        guard: Guard,
        command: String,
        limit: f64,
    },
    Rewind {
        guard: Guard,
        stop: How,
    },
    /// Makes a pool in a file, with empty instances.
    MakePool {
        file: PathBuf,
        instances: Vec<InstanceRef>,
    },
    Write {
        instance: InstanceRef,
        path: String,
        text: String,
    },
    Read {
        instance: InstanceRef,
        path: String,
    },
}

/// How a running instance is stopped.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    timeout: f64,
    force: bool,
}

impl How {
    fn stop(self) -> Result<Stop, Failure> {
        let timeout = seconds(self.timeout)?;
        Ok(match self.force {
            true => Stop::ThenForce(timeout),
            false => Stop::Graceful(timeout),
        })
    }
}

fn seconds(number: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(number).map_err(|error| Failure::usage(&error))
}

fn alias(text: Option<String>) -> Result<Option<Alias>, Failure> {
    let parsed = text.as_deref().map(Alias::new).transpose();
    parsed.map_err(|error| Failure::usage(&error))
}

/// The most that is read of a file.
const LIMIT: usize = 16 << 20;

impl Request {
    pub(crate) async fn carry_out(self, site: &Site, watch: &Watch) -> Result<Value, Failure> {
        let file = match (&self, &site.pool_file) {
            (Request::MakePool { file, instances }, _) => return make(site, file, instances),
            (Request::Write { .. } | Request::Read { .. }, None) => {
                let what = "files are read and written in a pool file only";
                return Err(Failure::usage(&what));
            }
            (_, None) => return self.on(&site.host().await?, watch).await,
            (_, Some(file)) => file,
        };
        match self {
            Request::Write {
                instance,
                path,
                text,
            } => {
                let engine = site.engine(file)?;
                let written = engine.write_file(&live(&instance)?, &path, 0o644, text.as_bytes());
                written.map_err(Error::from)?;
                Ok(Value::Null)
            }
            Request::Read { instance, path } => {
                let engine = site.engine(file)?;
                let read = engine.read_file(live(&instance)?.as_str(), &path, LIMIT);
                let read = read.map_err(Error::from)?;
                Ok(read.map_or(Value::Null, |bytes| {
                    String::from_utf8_lossy(&bytes).into_owned().into()
                }))
            }
            request => request.on(&site.pool(file)?, watch).await,
        }
    }

    async fn on<Z: Zfs, I: Instances>(
        self,
        host: &Host<Z, I>,
        watch: &Watch,
    ) -> Result<Value, Failure> {
        match self {
            Request::List => Ok(listed(&host.observe(&Zoned::now()).await?)),
            Request::Snapshot {
                instances,
                alias: name,
                expires,
            } => {
                let name = alias(name)?;
                let mut session = begin(host, Access::Snapshot, &instances, watch).await?;
                let plan = session.planner().plan_snapshot(&instances, name, expires)?;
                let report = session.take(&plan, watch).await;
                if report.class().is_some() {
                    return Err(Failure::of_report(&report));
                }
                session.refresh().await?;
                let taken = listed(session.planner().inventory());
                Ok(json!({ "report": report, "instances": taken }))
            }
            Request::Restore {
                instance,
                at,
                start,
                stop,
            } => {
                let to = Destination::InPlace {
                    stop: stop.stop()?,
                    destroy_newer: false,
                };
                let request = RestoreRequest { at, start, to };
                let of = [instance.clone()];
                change(host, &of, watch, async |planner| {
                    planner.plan_restore(&instance, &request).await
                })
                .await
            }
            Request::RestoreAsNew {
                instance,
                new,
                at,
                start,
            } => {
                let of = [instance.clone(), new.clone()];
                let identity = IdentityPolicy::default();
                let to = Destination::AsNew { new, identity };
                let request = RestoreRequest { at, start, to };
                change(host, &of, watch, async |planner| {
                    planner.plan_restore(&instance, &request).await
                })
                .await
            }
            Request::Undo {
                instance,
                start,
                stop,
            } => {
                let stop = stop.stop()?;
                let of = [instance.clone()];
                change(host, &of, watch, async |planner| {
                    planner.plan_undo(&instance, start, stop).await
                })
                .await
            }
            Request::Guard {
                instance,
                alias: name,
                expires,
            } => {
                let name = alias(name)?;
                let guard = host.guard(&instance, name, expires, Zoned::now(), watch);
                Ok(json!(guard.await?))
            }
            Request::Check {
                guard,
                command,
                limit,
            } => {
                let checked = host.check(&guard.instance, &command, seconds(limit)?);
                Ok(match checked.await? {
                    Checked::Passed => Value::Null,
                    Checked::Failed(output) => {
                        format!("the check ended with exit code {}", output.exit_code).into()
                    }
                    Checked::TimedOut => "the check did not end in time".into(),
                    Checked::NotRun(why) => format!("the check could not be run: {why}").into(),
                    _ => "the check did not pass".into(),
                })
            }
            Request::Rewind { guard, stop } => {
                let rewinding = host.rewind_to(&guard, stop.stop()?, Zoned::now(), watch);
                match rewinding.await? {
                    Some(report) if report.is_complete() => Ok(json!(report)),
                    Some(report) => Err(Failure::of_report(&report)),
                    None => Ok(Value::Null),
                }
            }
            Request::MakePool { .. } | Request::Write { .. } | Request::Read { .. } => {
                Err(Failure::usage(&"it takes a pool file"))
            }
        }
    }
}

async fn begin<'a, Z: Zfs, I: Instances>(
    host: &'a Host<Z, I>,
    access: Access,
    instances: &[InstanceRef],
    watch: &Watch,
) -> Result<Session<'a, Z, I>, Failure> {
    let begun = host.begin_as(access, instances, "python", Zoned::now(), watch);
    match begun.await? {
        Begun::Ready(session) => Ok(session),
        Begun::Stuck(report) => Err(Failure::of_report(&report)),
    }
}

/// Carries out what changes an instance; null if a recovery has done it.
async fn change<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    instances: &[InstanceRef],
    watch: &Watch,
    planned: impl AsyncFnOnce(&Planner<'_, Z, I>) -> Result<Option<Plan>, Error>,
) -> Result<Value, Failure> {
    let session = begin(host, Access::Alone, instances, watch).await?;
    let Some(plan) = planned(session.planner()).await? else {
        return Ok(Value::Null);
    };
    let report: Report = session.execute(&plan, watch).await;
    match report.is_complete() {
        true => Ok(json!(report)),
        false => Err(Failure::of_report(&report)),
    }
}

fn listed(inventory: &Inventory) -> Value {
    let instances = inventory.instances.iter().map(|one| {
        let (dataset, points, not_covered) = match &one.coverage {
            Coverage::Covered(covered) => {
                let points = covered.points.iter().map(|point| {
                    let mut shown = json!(point);
                    shown["name"] = point.name().into();
                    shown["live"] = point.is_live().into();
                    shown
                });
                (Some(covered.live.to_string()), points.collect(), None)
            }
            Coverage::NotCovered { reason } => (None, Vec::new(), Some(reason.to_string())),
        };
        json!({
            "instance": one.record.id,
            "running": one.record.state == terrarium_core::InstanceState::Running,
            "dataset": dataset,
            "points": points,
            "not_covered": not_covered,
        })
    });
    instances.collect()
}

fn live(instance: &InstanceRef) -> Result<DatasetName, Failure> {
    let name = match instance.project.is_default() {
        true => format!("demo/containers/{}", instance.name),
        false => format!("demo/containers/{}_{}", instance.project, instance.name),
    };
    DatasetName::new(&name).map_err(|error| Failure::usage(&error))
}

fn make(site: &Site, file: &std::path::Path, instances: &[InstanceRef]) -> Result<Value, Failure> {
    if file.exists() {
        let what = format!("{} is there already", file.display());
        return Err(Failure::refused(what));
    }
    let engine = site.create(file)?;
    let above = DatasetName::new("demo/containers").map_err(|error| Failure::usage(&error))?;
    let created = engine.create(&above, &Properties::new());
    created.map_err(Error::from)?;
    for instance in instances {
        let created = engine.create(&live(instance)?, &Properties::new());
        created.map_err(Error::from)?;
    }
    Ok(Value::Null)
}
