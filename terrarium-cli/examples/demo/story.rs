//! What the demo does and says.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use terrarium_zfs::{DatasetName, Properties};
use terrarium_zpool::{Engine, Options};

use crate::containers::{self, Digest};

/// The pool file in the demo's folder.
pub(crate) const POOL_FILE: &str = "pool";

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
        let broken = containers::digest(&engine, dataset("web")?.as_str())?;
        engine.close()?;
        if broken == *web {
            return Err("web is not broken".into());
        }
        let broken_hash = &broken.hash;
        let text = format!(
            "The upgrade goes wrong: {touched} files of web are overwritten, its hash is {broken_hash} now.\n\
             # What can it be brought back to?"
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

        let compared = self.compared;
        writeln!(
            out,
            "\nOK: all files of a container were read and hashed {compared} times, and were as they must be."
        )?;
        Ok(())
    }

    /// Makes the pool and what is in it.
    fn make(&self, out: &mut dyn Write) -> Outcome<BTreeMap<&'static str, Digest>> {
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
            let digest = containers::digest(&engine, dataset.as_str())?;
            let Digest { hash, names, bytes } = &digest;
            writeln!(
                out,
                "=> {name} has {names} files of {} MB and the hash {hash}",
                bytes / 1_000_000
            )?;
            made.insert(name, digest);
        }
        engine.close()?;
        Ok(made)
    }

    /// Shows a command of terrariumctl, has a shell run it, and shows what it says.
    fn run(&self, out: &mut dyn Write, arguments: &str) -> Outcome {
        let line = format!("terrariumctl --pool-file {POOL_FILE} {arguments}");
        writeln!(out, "$ {line}")?;
        let mut path = self.programs.as_os_str().to_owned();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(self.folder);
        command
            .env("PATH", path)
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        for variable in [
            "TERRARIUM_POOL_FILE",
            "TERRARIUM_ZPOOL",
            "TERRARIUM_STATE_DIR",
            "TERRARIUM_RUN_DIR",
        ] {
            command.env_remove(variable);
        }
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
        wanted: &Digest,
        meaning: &str,
    ) -> Outcome {
        let engine = self.open()?;
        let found = containers::digest(&engine, dataset(name)?.as_str())?;
        engine.close()?;
        self.compared += 1;
        let hash = &found.hash;
        if found != *wanted {
            let wanted = &wanted.hash;
            let text =
                format!("the files of {name} have the hash {hash}, not {wanted}: not {meaning}");
            return Err(text.into());
        }
        Ok(writeln!(out, "=> {name} has the hash {hash}: {meaning}")?)
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

fn with_help(error: terrarium_zpool::OpenError) -> Box<dyn Error> {
    match error.help() {
        Some(help) => format!("{error}; {help}").into(),
        None => error.into(),
    }
}
