//! What the demo does and says.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use terrarium_core::tree::{TreeListing, hash_snapshot};
use terrarium_zfs::{DatasetName, Properties};
use terrarium_zpool::{Engine, Options};

use crate::containers;

/// The pool file in the demo's folder.
pub(crate) const POOL_FILE: &str = "pool";

/// The folder of the archive.
const ARCHIVE: &str = "archive";
/// Where the host keeps what it knows of its archives.
const STATE: &str = "state";

const SIZE: u64 = 128 << 20;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A demo that is under way.
pub(crate) struct Story<'a> {
    /// Where `terrariumctl` and `terrarium-zpool` are.
    programs: &'a Path,
    /// Where the pool is made, and where commands are run.
    folder: &'a Path,
    /// How often files were compared.
    compared: usize,
}

impl<'a> Story<'a> {
    pub(crate) fn new(programs: &'a Path, folder: &'a Path) -> Self {
        Self {
            programs,
            folder,
            compared: 0,
        }
    }

    /// Tells it all.
    ///
    /// # Errors
    /// The first command that failed, or the first container whose files are not what they must be.
    pub(crate) fn tell(&mut self, out: &mut dyn Write) -> Outcome {
        let made = self.make(out)?;
        let [web, db] = [&made["web"], &made["db"]];

        say(out, "Before an upgrade, both are captured at one moment.")?;
        self.run(
            out,
            "backup snapshot --instance web --instance db --alias before-upgrade --expires 30d",
        )?;

        let engine = self.open()?;
        let touched = containers::break_web(&engine, &dataset("web")?)?;
        let broken = read(&engine, "web")?;
        engine.close()?;
        if broken == *web {
            return Err("web is not broken".into());
        }
        let text = format!(
            "The upgrade goes wrong: {touched} files of web are overwritten, its hash is {} now.\n\
             # What can it be brought back to?",
            hash(&broken)
        );
        say(out, &text)?;
        self.run(out, "backup list --instance web")?;

        say(
            out,
            "Back to before the upgrade. What is there now moves aside; nothing is destroyed.",
        )?;
        self.run(
            out,
            "backup restore --instance web --at before-upgrade --yes",
        )?;
        self.expect(out, "web", web, "as before the upgrade")?;
        self.expect(out, "db", db, "untouched")?;

        say(
            out,
            "On second thoughts: undo. The broken state is back, for somebody to look into it.",
        )?;
        self.run(out, "backup undo --instance web --yes")?;
        self.expect(out, "web", &broken, "as after the upgrade")?;

        say(
            out,
            "What web was before the upgrade comes beside it, as a container of its own.",
        )?;
        self.run(
            out,
            "backup restore --instance web --at before-upgrade --as-new web-then",
        )?;
        self.expect(out, "web-then", web, "as web before the upgrade")?;
        self.expect(out, "web", &broken, "untouched")?;
        self.expect(out, "db", db, "untouched")?;

        say(out, "All that there is now.")?;
        self.run(out, "backup list")?;

        self.lose_the_pool(out, web, db)?;

        let compared = self.compared;
        writeln!(
            out,
            "\nOK: all files of a container were read and hashed {compared} times, and were as they must be."
        )?;
        Ok(())
    }

    /// Exports both containers, loses the pool, and makes them anew from the archive.
    fn lose_the_pool(
        &mut self,
        out: &mut dyn Write,
        web: &TreeListing,
        db: &TreeListing,
    ) -> Outcome {
        say(
            out,
            "Off-site: an archive, here in a folder. Only who has identity.txt can read it.",
        )?;
        std::fs::create_dir(self.folder.join(ARCHIVE))?;
        self.shell(out, "terrariumctl archive keygen > identity.txt")?;
        self.shell(
            out,
            "terrariumctl archive init --recipient $(sed -n 's/^# public key: //p' identity.txt)",
        )?;
        self.run(
            out,
            "backup restore --instance web --at before-upgrade --yes",
        )?;
        self.run(out, "backup export --instance web --instance db")?;
        self.shell(out, "terrariumctl archive list")?;
        self.shell(
            out,
            "terrariumctl archive verify --deep --identity identity.txt",
        )?;

        say(
            out,
            "The machine is lost. What is left is the archive and the identity.",
        )?;
        self.shell(out, &format!("rm -r {POOL_FILE} {STATE}"))?;
        let engine = self
            .options()
            .create(&self.folder.join(POOL_FILE), "demo", SIZE);
        engine.map_err(with_help)?.close()?;
        for name in ["web", "db"] {
            let command = "backup restore --source archive --identity identity.txt --instance";
            self.run(out, &format!("{command} {name}"))?;
        }
        self.expect(out, "web", web, "as it was exported")?;
        self.expect(out, "db", db, "as it was exported")?;
        self.run(out, "backup list")
    }

    /// Makes the pool and what is in it.
    fn make(&self, out: &mut dyn Write) -> Outcome<BTreeMap<&'static str, TreeListing>> {
        let file = self.folder.join(POOL_FILE);
        let engine = self.options().create(&file, "demo", SIZE);
        let engine = engine.map_err(with_help)?;
        engine.create(&DatasetName::new("demo/containers")?, &Properties::new())?;
        writeln!(
            out,
            "# A pool in a file, with OpenZFS in a process: no kernel module, no LXD, no root.\n\
             # In it are two containers:"
        )?;
        let mut made = BTreeMap::new();
        for (name, write) in [
            (
                "web",
                containers::write_web as fn(&Engine, &DatasetName) -> _,
            ),
            ("db", containers::write_db),
        ] {
            let dataset = dataset(name)?;
            engine.create(&dataset, &Properties::new())?;
            write(&engine, &dataset)?;
            let files = read(&engine, name)?;
            writeln!(
                out,
                "=> {name} has {} files and directories of {} MB, and the hash {}",
                files.len(),
                files.bytes() / 1_000_000,
                hash(&files)
            )?;
            made.insert(name, files);
        }
        engine.close()?;
        Ok(made)
    }

    /// Shows a command of terrariumctl, has a shell run it, and shows what it says.
    fn run(&self, out: &mut dyn Write, arguments: &str) -> Outcome {
        self.shell(
            out,
            &format!("terrariumctl --pool-file {POOL_FILE} {arguments}"),
        )
    }

    /// Shows a command, has a shell run it, and shows what it says.
    fn shell(&self, out: &mut dyn Write, line: &str) -> Outcome {
        writeln!(out, "$ {line}")?;
        let mut path = self.programs.as_os_str().to_owned();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder);
        command
            .env("PATH", path)
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        for variable in [
            "TERRARIUM_POOL_FILE",
            "TERRARIUM_ZPOOL",
            "TERRARIUM_RUN_DIR",
        ] {
            command.env_remove(variable);
        }
        let archive = format!("file://{}", self.folder.join(ARCHIVE).display());
        command.env("TERRARIUM_ARCHIVE", archive);
        command.env("TERRARIUM_STATE_DIR", self.folder.join(STATE));
        let said = command.output()?;
        out.write_all(&said.stdout)?;
        out.write_all(&said.stderr)?;
        if !said.status.success() {
            return Err(format!("`{line}`: {}", said.status).into());
        }
        Ok(())
    }

    /// Compares all files of a container with what must be there.
    fn expect(
        &mut self,
        out: &mut dyn Write,
        name: &str,
        wanted: &TreeListing,
        meaning: &str,
    ) -> Outcome {
        let engine = self.open()?;
        let found = read(&engine, name)?;
        engine.close()?;
        self.compared += 1;
        let differences = wanted.differences(&found, 1);
        if let Some(first) = differences.first.first() {
            let (path, in_all) = (first.path().display(), differences.in_all);
            let text = format!(
                "{name} is not {meaning}: it has the hash {}, not {}, and differs in {in_all} places, {path} the first",
                hash(&found),
                hash(wanted)
            );
            return Err(text.into());
        }
        Ok(writeln!(
            out,
            "=> {name} has the hash {}: {meaning}",
            hash(&found)
        )?)
    }

    fn open(&self) -> Outcome<Engine> {
        let opened = self.options().open(&self.folder.join(POOL_FILE));
        opened.map_err(with_help)
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.program = Some(self.programs.join("terrarium-zpool"));
        options
    }
}

fn say(out: &mut dyn Write, text: &str) -> Outcome {
    Ok(writeln!(out, "\n# {text}")?)
}

fn dataset(container: &str) -> Outcome<DatasetName> {
    Ok(DatasetName::new(&format!("demo/containers/{container}"))?)
}

/// All that there is in a container.
fn read(engine: &Engine, container: &str) -> Outcome<TreeListing> {
    let read = hash_snapshot(engine, dataset(container)?.as_str())?;
    match read.damaged.first() {
        Some(path) => Err(format!("{container}: {} is damaged", path.display()).into()),
        None => Ok(read.listing),
    }
}

/// The beginning of the hash of names, kinds, modes, owners, times, links, attributes and contents.
fn hash(files: &TreeListing) -> String {
    files.digest().to_string()[..12].to_owned()
}

fn with_help(error: terrarium_zpool::OpenError) -> Box<dyn Error> {
    match error.help() {
        Some(help) => format!("{error}; {help}").into(),
        None => error.into(),
    }
}
