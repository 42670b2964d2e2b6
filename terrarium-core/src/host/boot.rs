//! Boot drills: a point of an archive comes back as a throw-away instance, is started, asked, and removed.
//!
//! Nothing that was here before is touched: neither the instance that the point is of, which may run meanwhile and is not
//! even locked, nor its datasets. What is made bears a mark from its first moment, in LXD and on its dataset: see
//! [`throw_away`]. It is removed whatever happens; what a drill leaves behind that is killed is removed by the next one,
//! which knows by the lock that nobody drills there any more.

mod remove;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Zoned;
use terrarium_s3::Store;
use terrarium_zfs::DatasetName;
use tokio::sync::watch;

use super::fetch::{FetchError, FetchPlan, FetchRequest, archived_definition};
use super::{Begun, Host, Session};
use crate::error::{Class, Error};
use crate::execute::Silent;
use crate::instances::{CommandOutput, Definition, InstanceState, Instances, InstancesError};
use crate::names::InstanceRef;
use crate::property;
use crate::report::with_causes;
use crate::streams::Streams;
use crate::throw_away::{self, ThrowAway};

/// How long an instance has to go on running after its start: one whose init dies at once has not booted.
const SETTLED: Duration = Duration::from_secs(1);

/// What is to be booted, and asked.
#[derive(Clone, Debug)]
pub struct BootRequest {
    /// The instance that the point is of.
    pub instance: InstanceRef,
    /// What a shell in it is given (`sh -c`), once; good is an exit code of 0.
    pub check: Option<String>,
    /// How long its start may take, and then the check.
    pub limit: Duration,
}

/// What a boot drill has shown.
#[derive(Debug)]
pub enum BootVerdict {
    /// It ran, and whatever it was asked was good.
    Booted,
    /// It did not come to run, or stopped again at once: why.
    NotStarted(String),
    /// It ran, and the check ended with another exit code than 0.
    CheckFailed(CommandOutput),
    /// It ran, and the check went on for longer than it was given.
    CheckTimedOut,
    /// It ran, and the check could not be run in it: why.
    CheckNotRun(String),
    /// It did not come so far.
    Failed(FetchError),
}

impl BootVerdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        matches!(self, BootVerdict::Booted)
    }

    /// The error, if it says nothing of the point: the drill was interrupted, or LXD, ZFS or the archive did not do
    /// their part.
    pub fn not_of_the_point(&self) -> Option<&FetchError> {
        match self {
            BootVerdict::Failed(error) => Some(error).filter(|error| {
                error.class() != Class::Failed || matches!(error, FetchError::Host(_))
            }),
            _ => None,
        }
    }
}

/// What a boot drill has shown, and what it took.
#[derive(Debug)]
#[non_exhaustive]
pub struct BootReport {
    /// What it has shown.
    pub verdict: BootVerdict,
    /// The throw-away instance.
    pub instance: InstanceRef,
    /// How many streams were received; fewer than the chain has if it starts from an image that is here.
    pub streams: usize,
    /// How long it took to fetch and receive them.
    pub received_in: Duration,
    /// How long it took from the start until LXD reported it as running.
    pub running_in: Option<Duration>,
    /// How long the check took to its end.
    pub checked_in: Option<Duration>,
    /// Why what was made for it is still there: the next boot drill tries again to remove it.
    pub left: Option<String>,
    /// Throw-away instances that drills had left behind and that this one has removed.
    pub removed: Vec<InstanceRef>,
    /// Why others could not be removed.
    pub stuck: Vec<String>,
}

/// Ends a drill before its time. Clones share it.
#[derive(Clone, Debug)]
pub struct Halt(Arc<watch::Sender<bool>>);

impl Default for Halt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Halt {
    /// From now on everything that waits for it ends.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Until somebody raises it.
    pub async fn raised(&self) {
        let mut seen = self.0.subscribe();
        // The sender is in `self`.
        let _ = seen.wait_for(|raised| *raised).await;
    }

    /// Carries out what can be given up at any moment.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.raised() => Err(Error::Interrupted),
            done = work => Ok(done),
        }
    }
}

impl<Z: Streams, I: Instances> Host<Z, I> {
    /// Boots the last point of the request's chain as a throw-away instance without network and labels, runs the check
    /// in it, and removes it. What earlier ones have left behind is removed first.
    ///
    /// `halt` ends it before its time; then, too, everything is removed before this returns.
    ///
    /// # Errors
    /// [`InstancesError::DoesNotRun`]; [`FetchError::NoDefinition`], [`FetchError::Sealed`]; a pool that cannot be
    /// written to, or has no room. Nothing was made then. What goes wrong later is the report's verdict.
    pub async fn drill_boot<S: Store>(
        &self,
        from: &FetchRequest<S>,
        request: &BootRequest,
        now: Zoned,
        halt: &Halt,
    ) -> Result<BootReport, FetchError> {
        if !self.instances.runs_instances() {
            let instance = request.instance.clone();
            return Err(InstancesError::DoesNotRun { instance }.into());
        }
        let (removed, stuck) = self.remove_left_behind(&now).await?;
        let layout = self
            .look(now.clone())
            .await?
            .pool_of_drill(&request.instance)?;
        let throw_away = ThrowAway::new(&request.instance.project, layout)?;
        let instances = std::slice::from_ref(&throw_away.instance);
        let session = match self.begin(instances, "drill", now, &Silent).await? {
            Begun::Ready(session) => session,
            Begun::Stuck(_) => {
                return Err(Error::Changed {
                    object: format!("instance {}", throw_away.instance),
                    change: "an operation of that name was cut off".to_owned(),
                }
                .into());
            }
        };
        let prepared = self.prepare(&session, &throw_away, from, request).await;
        let (definition, plan) =
            prepared.inspect_err(|_| self.locks.forget(&throw_away.instance))?;
        let mut report = BootReport {
            verdict: BootVerdict::Booted,
            instance: throw_away.instance.clone(),
            streams: plan.all_streams().count(),
            received_in: Duration::ZERO,
            running_in: None,
            checked_in: None,
            left: None,
            removed,
            stuck,
        };
        let drill = Drill {
            session: &session,
            throw_away: &throw_away,
            request,
            halt,
        };
        let shown = drill.run(&plan, from, &definition, &mut report).await;
        report.verdict = shown.unwrap_or_else(BootVerdict::Failed);
        let removal = self.remove_patiently(&throw_away).await;
        report.left = removal.err().map(|error| with_causes(&error));
        session.sweep_origins().await;
        if report.left.is_none() {
            self.locks.forget(&throw_away.instance);
        }
        Ok(report)
    }

    /// What LXD is to be told, and what is to be read: all that can be found out before anything is made.
    async fn prepare<S: Store>(
        &self,
        session: &Session<'_, Z, I>,
        throw_away: &ThrowAway,
        from: &FetchRequest<S>,
        request: &BootRequest,
    ) -> Result<(Definition, FetchPlan), FetchError> {
        let target = from.chain.last().ok_or(FetchError::Empty)?;
        let sealed = target.open(&from.identities);
        let sealed = sealed.map_err(|source| FetchError::Sealed {
            snapshot: target.snapshot.clone(),
            source,
        })?;
        let (archived, had) = archived_definition(&request.instance, &sealed)?;
        let definition = throw_away::definition(throw_away, &request.instance, &archived, &had);
        let planner = &session.planner;
        let plan = planner.plan_throw_away(throw_away, &request.instance, &from.chain);
        Ok((definition, plan.await?))
    }
}

/// One drill under way.
struct Drill<'a, Z, I> {
    session: &'a Session<'a, Z, I>,
    throw_away: &'a ThrowAway,
    request: &'a BootRequest,
    halt: &'a Halt,
}

impl<Z: Streams, I: Instances> Drill<'_, Z, I> {
    async fn run<S: Store>(
        &self,
        plan: &FetchPlan,
        from: &FetchRequest<S>,
        definition: &Definition,
        report: &mut BootReport,
    ) -> Result<BootVerdict, FetchError> {
        let began = Instant::now();
        let fetched = self.session.fetch_until(plan, from, self.halt).await;
        report.received_in = began.elapsed();
        fetched?;
        self.make(definition).await?;
        let began = Instant::now();
        if let Some(why) = self.start().await? {
            return Ok(BootVerdict::NotStarted(why));
        }
        report.running_in = Some(began.elapsed());
        self.halt.or(tokio::time::sleep(SETTLED)).await?;
        if !self.is_running().await? {
            report.running_in = None;
            let why = "it stopped again right after its start".to_owned();
            return Ok(BootVerdict::NotStarted(why));
        }
        let Some(check) = &self.request.check else {
            return Ok(BootVerdict::Booted);
        };
        let began = Instant::now();
        let verdict = self.check(check).await?;
        report.checked_in = Some(began.elapsed());
        Ok(verdict)
    }

    /// Makes the instance, and gives it what was received.
    async fn make(&self, definition: &Definition) -> Result<(), Error> {
        let (new, layout) = (&self.throw_away.instance, &self.throw_away.layout);
        let planner = &self.session.planner;
        let instances = &planner.host.instances;
        let name = |error: terrarium_zfs::NameError| terrarium_zfs::Error::from(error);
        let dataset = layout.instance(new).map_err(name)?;
        let staged = layout.staging(&self.throw_away.operation).map_err(name)?;
        // LXD's clean-up after a failed creation destroys what stood there before.
        let place = dataset.clone();
        let found = planner.on_zfs(move |zfs| zfs.guid(place.as_str()));
        if found.await?.is_some() {
            return Err(changed(&dataset, "it exists, though nobody has made it"));
        }
        if instances.get(new).await?.is_some() {
            return Err(Error::NameTaken {
                instance: new.clone(),
            });
        }
        self.halt.or(async {}).await?;
        instances.create_empty(new, definition).await?;
        let place = dataset.clone();
        let listing = planner.on_zfs(move |zfs| zfs.list(&place)).await?;
        match listing.datasets.as_slice() {
            [empty] if listing.snapshots.is_empty() && empty.origin.is_none() => {}
            _ => return Err(changed(&dataset, "it is not the empty one that LXD made")),
        }
        planner
            .on_zfs(move |zfs| {
                zfs.destroy(&dataset)?;
                zfs.rename(&staged, &dataset)
            })
            .await?;
        let idmap = definition.config.get(property::LXD_IDMAP).cloned();
        // It is to boot as it was: no templates of an image.
        let changes = [
            (property::LXD_IDMAP.to_owned(), idmap),
            (property::LXD_TEMPLATE.to_owned(), None),
        ];
        instances.set_config(new, &changes.into()).await?;
        Ok(())
    }

    /// Starts it; or says why it does not run.
    async fn start(&self) -> Result<Option<String>, Error> {
        let starting = self.instances().start(&self.throw_away.instance);
        let limit = self.request.limit;
        let started = self.halt.or(tokio::time::timeout(limit, starting)).await?;
        match started {
            Err(_) => Ok(Some(format!("it did not run within {}s", limit.as_secs()))),
            Ok(Err(error)) => of_the_guest(error).map(Some),
            Ok(Ok(())) if self.is_running().await? => Ok(None),
            Ok(Ok(())) => Ok(Some("LXD does not report it as running".to_owned())),
        }
    }

    async fn is_running(&self) -> Result<bool, Error> {
        let record = self.instances().get(&self.throw_away.instance).await?;
        Ok(record.is_some_and(|record| record.state == InstanceState::Running))
    }

    async fn check(&self, check: &str) -> Result<BootVerdict, Error> {
        let command = ["sh", "-c", check].map(str::to_owned);
        let new = &self.throw_away.instance;
        let running = self.instances().exec(new, &command, self.request.limit);
        match self.halt.or(running).await? {
            Ok(output) if output.exit_code == 0 => Ok(BootVerdict::Booted),
            Ok(output) => Ok(BootVerdict::CheckFailed(output)),
            Err(InstancesError::CommandTimedOut { .. }) => Ok(BootVerdict::CheckTimedOut),
            Err(error) => of_the_guest(error).map(BootVerdict::CheckNotRun),
        }
    }

    fn instances(&self) -> &I {
        &self.session.planner.host.instances
    }
}

/// What LXD could not do with the guest is a verdict; that LXD is not there is none.
fn of_the_guest(error: InstancesError) -> Result<String, Error> {
    let error = Error::from(error);
    match error.class() {
        Class::Unavailable => Err(error),
        _ => Ok(with_causes(&error)),
    }
}

fn changed(dataset: &DatasetName, change: &str) -> Error {
    Error::Changed {
        object: dataset.to_string(),
        change: change.to_owned(),
    }
}
