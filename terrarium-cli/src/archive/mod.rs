//! `archive`: restore points in a folder or a bucket, without LXD and without ZFS.

mod annotate;
pub(crate) mod args;
mod change;
mod failure;
pub(crate) mod get;
pub(crate) mod identity;
mod import;
mod init;
pub(crate) mod list;
pub(crate) mod points;
mod prune;
mod put;
mod trust;
pub(crate) mod verify;

use std::sync::Arc;

use jiff::Zoned;
use terrarium_core::Folders;
use terrarium_s3::archive::{
    AnyStore, Archive as Opened, HostState, Location, Pin, S3Options, StateError,
};
use terrarium_s3::crypto::{HostKey, VerifyingKey};

use crate::archive::args::{Archive, Command, PlaceArgs};
use crate::config;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::signal::{self, Interrupt};
use crate::site;

/// What a command works with.
pub(crate) struct Session<'a> {
    console: &'a Console,
    now: Zoned,
    interrupt: Interrupt,
    state: HostState,
    location: Location,
    s3: S3Options,
}

/// Whether the archive is what this host agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pinned {
    /// It is.
    Same,
    /// It is not.
    Differs,
    /// This host never agreed to anything, or does not let this user know.
    Unknown,
}

/// Carries out a command.
pub(crate) async fn archive(
    topic: &Archive,
    console: &Arc<Console>,
    now: Zoned,
) -> Result<Exit, Failure> {
    if let Command::Keygen = topic.command {
        return init::keygen(console);
    }
    let interrupt = Interrupt::default();
    signal::watch(&interrupt, console);
    let session = Session::new(&topic.place, console, now, interrupt).await?;
    let interrupt = session.interrupt.clone();
    match &topic.command {
        Command::Keygen => init::keygen(console),
        Command::Init(args) => init::init(args, &session).await,
        Command::Change(args) => change::change(args, &session).await,
        Command::Trust(args) => trust::trust(args, &session).await,
        Command::List(args) => interrupt.or(list::list(args, &session)).await,
        Command::Verify(args) => interrupt.or(verify::verify(args, &session)).await,
        Command::Put(args) => put::put(args, &session).await,
        Command::Import(args) => import::import(args, &session).await,
        Command::Get(args) => get::get(args, &session).await,
        Command::Annotate(args) => interrupt.or(annotate::annotate(args, &session)).await,
        Command::Prune(args) => prune::prune(args, &session).await,
    }
}

/// The archive that is meant, and how it is reached. Who names one by flag or environment says all of it there; else
/// the settings of this host are asked.
async fn place(
    place: &PlaceArgs,
    console: &Console,
    interrupt: &Interrupt,
) -> Result<(Location, S3Options), Failure> {
    let s3 = place.s3();
    if let Some(location) = &place.archive {
        return Ok((location.clone(), s3));
    }
    match std::env::var("TERRARIUM_ARCHIVE") {
        Ok(text) if !text.is_empty() => return Ok((text.parse::<Location>()?, s3)),
        _ => {}
    }
    let asking = async { Ok::<_, Failure>(config::observe().await) };
    let settings = interrupt.or(asking).await?.into_use(console)?;
    match settings.archive() {
        Some(text) => Ok((text.parse::<Location>()?, config::reached(&settings, s3))),
        None => {
            let failure = Failure::new(Exit::Usage, "it is not said which archive is meant");
            Err(failure.with_help("give --archive URL, or set TERRARIUM_ARCHIVE"))
        }
    }
}

impl<'a> Session<'a> {
    /// Works with the archive that is meant.
    pub(crate) async fn new(
        asked: &PlaceArgs,
        console: &'a Console,
        now: Zoned,
        interrupt: Interrupt,
    ) -> Result<Self, Failure> {
        let (location, s3) = place(asked, console, &interrupt).await?;
        Ok(Self {
            console,
            now,
            interrupt,
            state: HostState::new(site::folders(Folders::default()).state),
            location,
            s3,
        })
    }

    pub(crate) async fn open(&self) -> Result<Opened<AnyStore>, Failure> {
        let (store, layout) = self.location.open(&self.s3).await?;
        let archive = Opened::open(Arc::new(store), layout).await?;
        for ignored in archive.ignored() {
            let (key, why) = (&ignored.key, &ignored.why);
            self.console
                .tell(&format!("warning: {key} does not count: {why}"));
        }
        Ok(archive)
    }

    /// Opens the archive to read it, and says whether it is what this host knows.
    pub(crate) async fn read(&self) -> Result<(Opened<AnyStore>, Pinned), Failure> {
        let archive = self.open().await?;
        let pinned = self.compare(&archive)?;
        Ok((archive, pinned))
    }

    /// What this host keeps.
    pub(crate) fn state(&self) -> &HostState {
        &self.state
    }

    /// Where the archive is.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// Opens the archive to write into it: as this host agreed to it, and with the key that signs.
    pub(crate) async fn open_to_write(&self) -> Result<(Opened<AnyStore>, HostKey), Failure> {
        let archive = self.open().await?;
        let place = self.place();
        let Some(pin) = self.state.pin(&place)? else {
            let why = format!("this host does not know the archive {place}: it did not make it");
            let folder = self.state.folder().display();
            return Err(Failure::new(Exit::Refused, why).with_help(format!(
                "if it made it, bring its state folder back to {folder}; \
                 else `terrariumctl archive trust` agrees to it"
            )));
        };
        pin.check(archive.document()).map_err(|difference| {
            Failure::from(difference).with_help(
                "if you have changed it on another host, `terrariumctl archive trust` agrees to it; \
                 else somebody has exchanged it",
            )
        })?;
        let key = self.state.host_key()?;
        let key = key.filter(|key| pin.host_keys.contains(&key.verifying_key()));
        let key = key.ok_or_else(|| {
            let why = "this host has no key that may sign in this archive";
            let folder = self.state.folder().display();
            Failure::new(Exit::Refused, why).with_help(format!(
                "`terrariumctl archive trust` prints its key, and `archive change --add-host` on a host that may \
                 sign lets it in; or bring host.key back to {folder} from a copy"
            ))
        })?;
        Ok((archive, key))
    }

    /// What the pin of the archive is kept under.
    fn place(&self) -> String {
        match (&self.location, &self.s3.endpoint) {
            (Location::S3 { .. }, Some(endpoint)) => format!("{} at {endpoint}", self.location),
            _ => self.location.to_string(),
        }
    }

    /// The key that this host signs with, if it has one that can be read.
    fn own_key(&self) -> Option<VerifyingKey> {
        let key = self.state.host_key().ok().flatten();
        key.map(|key| key.verifying_key())
    }

    /// Compares an archive that is only read, and warns if it is not what this host knows.
    pub(crate) fn compare(&self, archive: &Opened<AnyStore>) -> Result<Pinned, Failure> {
        let pin: Option<Pin> = match self.state.pin(&self.place()) {
            Err(StateError::File { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                None
            }
            pin => pin?,
        };
        match pin.map(|pin| pin.check(archive.document())) {
            None => Ok(Pinned::Unknown),
            Some(Ok(())) => Ok(Pinned::Same),
            Some(Err(difference)) => {
                self.console.tell(&format!("warning: {difference}"));
                Ok(Pinned::Differs)
            }
        }
    }
}
