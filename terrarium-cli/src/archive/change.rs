//! `archive change`.

use std::collections::BTreeSet;

use serde::Serialize;
use terrarium_s3::archive::Pin;
use terrarium_s3::crypto::{HostKey, Recipients, VerifyingKey};
use terrarium_s3::format::ArchiveId;

use crate::archive::Session;
use crate::archive::args::ChangeArgs;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::render::JSON_VERSION;

/// What was changed, or would be.
#[derive(Serialize)]
struct Changed {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    location: String,
    id: ArchiveId,
    recipients: Vec<String>,
    host_keys: Vec<VerifyingKey>,
    /// Whether anything is other than it was.
    changed: bool,
}

/// Changes recipients and hosts.
pub(super) async fn change(args: &ChangeArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let (console, interrupt) = (session.console, &session.interrupt);
    let added = Recipients::parse_any(&args.add_recipients)?;
    let removed = Recipients::parse_any(&args.remove_recipients)?;
    let (archive, key) = interrupt.or(session.open_to_write()).await?;
    let document = archive.document();

    let mut recipients: BTreeSet<String> = document.recipients.texts().map(str::to_owned).collect();
    recipients.extend(added.iter().cloned());
    for gone in &removed {
        if !recipients.remove(gone) {
            return Err(unknown("recipient", gone));
        }
    }
    if recipients.is_empty() {
        let why = "nobody would be able to read new points: it would have no recipient";
        return Err(Failure::new(Exit::Refused, why));
    }
    let recipients = Recipients::parse(recipients)?;
    let host_keys = hosts(&document.host_keys, args, &key)?;

    let changed = recipients != document.recipients || host_keys != document.host_keys;
    let says = Changed {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.consent.dry_run,
        location: session.location.to_string(),
        id: document.id,
        recipients: recipients.texts().map(str::to_owned).collect(),
        host_keys: host_keys.clone(),
        changed,
    };
    if !changed || args.consent.dry_run {
        return shown(session, &says);
    }
    if !args.consent.yes {
        confirm::refuse_unattended(console)?;
        let question = Question {
            text: lines(&says, session.own_key()),
            destroys: false,
        };
        confirm::ask(&question, console, interrupt).await?;
    }
    let written = session.now.timestamp();
    let archive = archive.change(recipients, host_keys, &key, written).await?;
    // Whoever dies before this is asked by `archive trust`, as on any other host.
    session
        .state
        .set_pin(&session.place(), &Pin::of(archive.document()))?;
    shown(session, &says)
}

/// The hosts that may sign afterwards.
fn hosts(
    before: &[VerifyingKey],
    args: &ChangeArgs,
    own: &HostKey,
) -> Result<Vec<VerifyingKey>, Failure> {
    let mut hosts = before.to_vec();
    for new in &args.add_hosts {
        if !hosts.contains(new) {
            hosts.push(*new);
        }
    }
    for gone in &args.remove_hosts {
        if *gone == own.verifying_key() {
            let why = "this host cannot remove itself: what it signs would not be trusted";
            return Err(Failure::new(Exit::Refused, why).with_help("do it on another host"));
        }
        let Some(index) = hosts.iter().position(|host| host == gone) else {
            return Err(unknown("host", &gone.to_string()));
        };
        hosts.remove(index);
    }
    Ok(hosts)
}

fn unknown(what: &str, text: &str) -> Failure {
    let why = format!("{text} is no {what} of this archive; nothing was changed");
    Failure::new(Exit::Refused, why).with_help("`terrariumctl archive list --json` shows them")
}

fn lines(says: &Changed, own: Option<VerifyingKey>) -> String {
    let mut text = format!("the archive {}\n  id         {}\n", says.location, says.id);
    for recipient in &says.recipients {
        text.push_str(&format!("  recipient  {recipient}\n"));
    }
    for host in &says.host_keys {
        let this = if Some(*host) == own {
            " (this host)"
        } else {
            ""
        };
        text.push_str(&format!("  host key   {host}{this}\n"));
    }
    text.pop();
    text
}

fn shown(session: &Session<'_>, says: &Changed) -> Result<Exit, Failure> {
    if session.console.json {
        session.console.answer_json(says)?;
        return Ok(Exit::Done);
    }
    let head = match (says.changed, says.dry_run) {
        (false, _) => "nothing to change: ",
        (true, true) => "would change ",
        (true, false) => "changed ",
    };
    let text = lines(says, session.own_key());
    session.console.answer(&format!("{head}{text}\n"))?;
    Ok(Exit::Done)
}
