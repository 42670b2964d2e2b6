//! A host in memory that the commands run on, and what they say.

use std::io::{self, BufReader, Cursor, Read, Write};

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use jiff::{Timestamp, Zoned};
use lxd_client::Client;
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::plan::Step;
use terrarium_core::{
    Begun, Destination, Error, Folders, Host, InstanceRef, Plan, Progress, RestoreRequest, Silent,
    Stop, Zfs,
};
use terrarium_zfs::{SnapshotName, UserProperties};

use crate::args::{Backup, Cli, Topic};
use crate::command::{self, Context};
use crate::console::{Console, Input};
use crate::render;
use crate::signal::Interrupt;
use crate::site::Site;

/// The time of every command.
pub(crate) fn now() -> Zoned {
    "2026-11-22T12:00:00+01:00[Europe/Berlin]".parse().unwrap()
}

/// What a command said, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A host with ZFS and LXD in memory, and a terminal.
pub(crate) struct Scene {
    pub(crate) fake: FakeHost,
    host: Host<FakeZfs, Client>,
    interrupt: Interrupt,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A host without instances.
    pub(crate) async fn new() -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            interrupt: Interrupt::default(),
            _folder: folder,
        }
    }

    /// A snapshot taken at a time, with user properties.
    pub(crate) fn snapshot(&self, name: &str, at: &str, properties: &[(&str, &str)]) {
        let zfs = self.fake.zfs();
        let at: Timestamp = at.parse().unwrap();
        zfs.set_time(at.as_second());
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let properties: UserProperties = properties.iter().map(own).collect();
        zfs.snapshot(&[(SnapshotName::new(name).unwrap(), properties)])
            .unwrap();
        zfs.set_time(now().timestamp().as_second());
    }

    /// Runs a command line where nobody can be asked.
    pub(crate) async fn run(&self, line: &[&str]) -> Said {
        self.command(None, line).await
    }

    /// Runs a command line on a terminal where somebody types `input`.
    pub(crate) async fn typing(&self, input: &str, line: &[&str]) -> Said {
        self.typing_after(input, || {}, line).await
    }

    /// Runs a command line on a terminal where somebody does something before typing `input`.
    pub(crate) async fn typing_after(
        &self,
        input: &str,
        before: impl FnOnce() + Send + 'static,
        line: &[&str],
    ) -> Said {
        let late = Late(Some(before), Cursor::new(input.to_owned()));
        let input: Input = Arc::new(Mutex::new(BufReader::new(late)));
        self.command(Some(input), line).await
    }

    /// Runs a command line; a signal comes while it stops an instance.
    pub(crate) async fn interrupted_while_stopping(&self, line: &[&str]) -> Said {
        let is_stop = |request: &String| request.starts_with("PUT") && request.contains("/state");
        let stops = || {
            self.fake
                .lxd()
                .requests()
                .into_iter()
                .filter(is_stop)
                .count()
        };
        let stops_before = stops();
        self.fake
            .lxd()
            .set_delay("PUT", "/state", Duration::from_millis(300));
        let signal = async {
            while stops() == stops_before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.interrupt.raise();
        };
        tokio::join!(self.run(line), signal).0
    }

    /// A signal comes.
    pub(crate) fn interrupt(&self) {
        self.interrupt.raise();
    }

    /// Runs a command line of `instance` where nobody can be asked.
    pub(crate) async fn instance(&self, line: &[&str]) -> Said {
        self.topic("instance", None, line).await
    }

    /// Runs a command line of `instance` on a terminal where somebody types `input`.
    pub(crate) async fn instance_typing(&self, input: &str, line: &[&str]) -> Said {
        let input = Cursor::new(input.to_owned());
        let input: Input = Arc::new(Mutex::new(BufReader::new(input)));
        self.topic("instance", Some(input), line).await
    }

    /// Runs a command line of `graveyard` where nobody can be asked.
    pub(crate) async fn graveyard(&self, line: &[&str]) -> Said {
        self.topic("graveyard", None, line).await
    }

    /// Runs a command line of `adopt` where nobody can be asked.
    pub(crate) async fn adopt(&self, line: &[&str]) -> Said {
        self.topic("adopt", None, line).await
    }

    /// Runs a command line of any topic where nobody can be asked.
    pub(crate) async fn terrariumctl(&self, line: &[&str]) -> Said {
        let (topic, line) = line.split_first().unwrap();
        self.topic(topic, None, line).await
    }

    async fn command(&self, input: Option<Input>, line: &[&str]) -> Said {
        self.topic("backup", input, line).await
    }

    async fn topic(&self, topic: &str, input: Option<Input>, line: &[&str]) -> Said {
        let cli = Cli::try_parse_from(["terrariumctl", topic].iter().chain(line)).unwrap();
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut console = Console::of(out.clone(), err.clone(), input);
        console.json = cli.json;
        console.verbose = cli.verbose;
        let context = Context {
            console: Arc::new(console),
            clock: now,
            interrupt: self.interrupt.clone(),
            site: Site::Host,
        };
        let command = match cli.topic {
            Topic::Backup(command) => command,
            Topic::Adopt(what) => Backup::Adopt(what),
            Topic::Run(args) => Backup::Run(args),
            Topic::Status(args) => Backup::Status(args),
            Topic::Guard(args) => Backup::Guard(args),
            Topic::Instance(what) => Backup::Whole(what),
            Topic::Graveyard(what) => Backup::Graveyard(what),
            _ => panic!("{line:?} is for no host"),
        };
        let done = command::local(&self.host, &command, &context).await;
        let exit = done.unwrap_or_else(|failure| render::show(&context.console, &failure));
        Said {
            code: exit.code(),
            out: without_salt(&out.text()),
            err: without_faults(&without_salt(&err.text())),
        }
    }

    /// Restores in place, and dies before a step.
    pub(crate) async fn die(&self, instance: &str, at: &str, before_action: &'static str) {
        let instance: InstanceRef = instance.parse().unwrap();
        let request = RestoreRequest {
            at: Some(at.to_owned()),
            start: false,
            to: Destination::InPlace {
                stop: Stop::Graceful(Duration::from_secs(5)),
                destroy_newer: false,
            },
        };
        let of = [instance.clone()];
        let begun = self.host.begin(&of, "restore", now(), &Silent).await;
        let Begun::Ready(session) = begun.unwrap() else {
            panic!("nothing was cut off before");
        };
        let plan = session.planner().plan_restore(&instance, &request).await;
        let plan = plan.unwrap().unwrap();
        let report = session.execute(&plan, &Dying(before_action)).await;
        assert!(
            matches!(report.error, Some(Error::Fault { .. })),
            "{report:?}"
        );
    }

    /// What the guest's own file holds.
    pub(crate) fn note(&self, instance: &str) -> String {
        self.fake.content(instance)["note"].clone()
    }

    pub(crate) fn is_running(&self, instance: &str) -> bool {
        self.fake
            .lxd()
            .instance("default", instance)
            .unwrap()
            .is_running()
    }
}

/// Does not begin an action.
struct Dying(&'static str);

impl Progress for Dying {
    fn step_begins(&self, step: usize, _: &Plan, begun: &Step) -> Result<(), Error> {
        if begun.action.name() == self.0 {
            return Err(Error::Fault { step });
        }
        Ok(())
    }
}

/// Operations differ by four random digits behind their time: `20261122-110000-beef` becomes `20261122-110000-*`.
fn without_salt(text: &str) -> String {
    const TIME: &str = "20261122-110000-";
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(TIME) {
        let (before, after) = rest.split_at(at + TIME.len());
        shown.push_str(before);
        rest = after;
        if rest.bytes().take(4).filter(u8::is_ascii_hexdigit).count() == 4 {
            shown.push('*');
            rest = &rest[4..];
        }
    }
    shown + rest
}

/// Builds with fault injection tell each step.
fn without_faults(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("fault: ")).collect()
}

/// Reads, but does something before.
struct Late<F>(Option<F>, Cursor<String>);

impl<F: FnOnce()> Read for Late<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(before) = self.0.take() {
            before();
        }
        self.1.read(buffer)
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
