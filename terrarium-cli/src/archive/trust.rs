//! `archive trust`.

use std::fmt::Display;

use serde::Serialize;
use terrarium_s3::archive::Pin;
use terrarium_s3::crypto::VerifyingKey;
use terrarium_s3::format::ArchiveId;

use crate::archive::Session;
use crate::archive::args::TrustArgs;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::render::JSON_VERSION;

/// What was agreed to, or would be.
#[derive(Serialize)]
struct Trusted {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    location: String,
    id: ArchiveId,
    recipients: Vec<String>,
    host_keys: Vec<VerifyingKey>,
    /// The key that this host signs with; none in a dry run if there is none yet.
    own_key: Option<VerifyingKey>,
    /// Whether this host may sign.
    may_write: bool,
    /// Whether this host knew it as something else, or not at all.
    changed: bool,
}

/// Agrees to the archive as it is.
pub(super) async fn trust(args: &TrustArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let (console, interrupt) = (session.console, &session.interrupt);
    let archive = interrupt.or(session.open()).await?;
    let found = Pin::of(archive.document());
    let known = session.state.pin(&session.place())?;
    let changed = known.as_ref() != Some(&found);
    if changed && !args.consent.dry_run && !args.consent.yes {
        confirm::refuse_unattended(console)?;
        let question = Question {
            text: difference(known.as_ref(), &found, session),
            destroys: false,
        };
        confirm::ask(&question, console, interrupt).await?;
    }
    let own_key = if args.consent.dry_run {
        session.own_key()
    } else {
        let key = session.state.host_key_or_new()?.verifying_key();
        if changed {
            session.state.set_pin(&session.place(), &found)?;
        }
        Some(key)
    };
    let says = Trusted {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.consent.dry_run,
        location: session.location.to_string(),
        id: found.archive,
        recipients: found.recipients.texts().map(str::to_owned).collect(),
        may_write: own_key.is_some_and(|key| found.host_keys.contains(&key)),
        host_keys: found.host_keys.clone(),
        own_key,
        changed,
    };
    if console.json {
        console.answer_json(&says)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    if args.consent.dry_run && changed {
        text.push_str(&difference(known.as_ref(), &found, session));
    } else {
        let what = if changed {
            "agreed to"
        } else {
            "nothing to do: this host knows"
        };
        let (location, id) = (&says.location, says.id);
        text.push_str(&format!("{what} the archive {location} ({id})"));
    }
    text.push('\n');
    if let (false, Some(key)) = (says.may_write, says.own_key) {
        text.push_str(&format!(
            "this host may not write into it yet; on one that may:\n  \
             terrariumctl archive change --add-host {key}\n\
             then `terrariumctl archive trust` once more here\n"
        ));
    }
    console.answer(&text)?;
    Ok(Exit::Done)
}

/// What is there, with what is new to this host and what it misses.
fn difference(known: Option<&Pin>, found: &Pin, session: &Session<'_>) -> String {
    let mut lines = vec![format!("the archive {}", session.location)];
    let own = session.own_key();
    let ids = known.map(|pin| vec![pin.archive]);
    compare(&mut lines, "id", ids, &[found.archive], None);
    let texts = |pin: &Pin| {
        pin.recipients
            .texts()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    compare(
        &mut lines,
        "recipient",
        known.map(texts),
        &texts(found),
        None,
    );
    let hosts = known.map(|pin| pin.host_keys.clone());
    compare(
        &mut lines,
        "host key",
        hosts,
        &found.host_keys,
        own.as_ref(),
    );
    if known.is_none() {
        lines.push("this host does not know it".to_owned());
    }
    lines.join("\n")
}

fn compare<T: Display + PartialEq>(
    lines: &mut Vec<String>,
    what: &str,
    known: Option<Vec<T>>,
    found: &[T],
    own: Option<&T>,
) {
    for value in found {
        let new = known.as_ref().is_some_and(|known| !known.contains(value));
        let new = if new { "  (new)" } else { "" };
        let this = if own == Some(value) {
            "  (this host)"
        } else {
            ""
        };
        lines.push(format!("  {what:<9}  {value}{this}{new}"));
    }
    for value in known
        .iter()
        .flatten()
        .filter(|value| !found.contains(value))
    {
        lines.push(format!("  {what:<9}  {value}  (gone)"));
    }
}
