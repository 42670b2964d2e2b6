//! `backup simulate`: what history a policy will hold.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Zoned;
use terrarium_core::policy::{Policy, SanoidConf, retention_label, simulate};

use crate::args::SimulateArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render::simulate as render;

/// The most of a configuration that is read: a mistaken file shall not fill the memory.
const MOST_BYTES: u64 = 1 << 20;

/// Simulates the policy that was asked for, and shows and draws what comes of it.
pub(crate) fn show(args: &SimulateArgs, console: &Console, now: &Zoned) -> Result<Exit, Failure> {
    let policy = policy(args, console)?;
    let history = simulate(&policy, now, args.days);
    if let Some(path) = &args.svg {
        super::write_whole(path, &render::svg(&policy, &history))?;
    }
    if console.json {
        console.answer_json(&render::json(&policy, &history))?;
    } else {
        console.answer(&render::text(&policy, &history))?;
    }
    Ok(Exit::Done)
}

fn policy(args: &SimulateArgs, console: &Console) -> Result<Policy, Failure> {
    if let (Some(path), Some(template)) = (&args.sanoid_conf, &args.template) {
        return template_of(path, template, console);
    }
    let Some(label) = &args.policy else {
        return Ok(Policy::default());
    };
    retention_label(label, &Policy::default(), &BTreeMap::new())
        .map_err(|error| Failure::new(Exit::Usage, format!("--policy {label}: {error}")))
}

fn template_of(path: &Path, template: &str, console: &Console) -> Result<Policy, Failure> {
    let file = path.display();
    let text = read(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read {file}: {error}")))?;
    let conf = SanoidConf::parse(&text)
        .map_err(|error| Failure::new(Exit::Usage, format!("{file}: {error}")))?;
    for notice in conf.notices() {
        console.tell(&format!("note: {file}: {notice}"));
    }
    conf.template(template).map_err(|error| {
        let names: Vec<_> = conf.templates().collect();
        let failure = Failure::new(Exit::Usage, format!("{file}: {error}"));
        match names.is_empty() {
            true => failure,
            false => failure.with_help(format!("its templates are {}", names.join(", "))),
        }
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read};

    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let length = file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length <= MOST_BYTES) {
        Ok(text)
    } else {
        Err(Error::new(
            ErrorKind::FileTooLarge,
            "it has more than 1 MiB",
        ))
    }
}
