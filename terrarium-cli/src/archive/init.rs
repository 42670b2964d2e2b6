//! `archive keygen` and `archive init`.

use std::sync::Arc;

use serde::Serialize;
use terrarium_s3::archive::{Archive, Pin};
use terrarium_s3::crypto::{NewIdentity, Recipients};
use terrarium_s3::format::{self, ArchiveId};

use crate::archive::Session;
use crate::archive::args::InitArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render::JSON_VERSION;

/// Prints a new identity.
pub(super) fn keygen(console: &Console) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Made<'a> {
        version: u32,
        recipient: &'a str,
        identity: &'a str,
    }
    let identity = NewIdentity::generate();
    let file = identity.to_file();
    let secret = file.lines().find(|line| !line.starts_with('#'));
    if console.json {
        console.answer_json(&Made {
            version: JSON_VERSION,
            recipient: identity.recipient(),
            identity: secret.unwrap_or_default(),
        })?;
    } else {
        console.answer_bytes(file.as_bytes())?;
        console.tell(&format!("recipient: {}", identity.recipient()));
    }
    Ok(Exit::Done)
}

/// What was made, or would be.
#[derive(Serialize)]
struct Made {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    location: String,
    /// None yet in a dry run.
    id: Option<ArchiveId>,
    recipients: Vec<String>,
    /// None yet if it would be made.
    host_key: Option<String>,
}

/// Makes an archive.
pub(super) async fn init(args: &InitArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let recipients = Recipients::parse(&args.recipients)?;
    let interrupt = &session.interrupt;
    let (store, layout) = session.location.open(&session.s3).await?;
    let looking = Archive::refuse_what_is_there(&store, &layout);
    interrupt.or(looking).await?;
    let made = |id, host_key| Made {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.dry_run,
        location: session.location.to_string(),
        id,
        recipients: recipients.texts().map(str::to_owned).collect(),
        host_key,
    };
    if args.dry_run {
        let key = session.state.host_key()?;
        let key = key.map(|key| key.verifying_key().to_string());
        return shown(session.console, &made(None, key));
    }
    let key = session.state.host_key_or_new()?.verifying_key();
    let cannot = |error| Failure::new(Exit::Failed, format!("no id can be drawn: {error}"));
    let document = format::Archive {
        id: ArchiveId::random().map_err(cannot)?,
        created: session.now.timestamp(),
        recipients: recipients.clone(),
        host_keys: vec![key],
    };
    // Before the archive is there: whoever dies in between has made nothing that he would not know.
    let pin = Pin::of(&document);
    session.state.set_pin(&session.place(), &pin)?;
    Archive::init(Arc::new(store), layout, document).await?;
    shown(
        session.console,
        &made(Some(pin.archive), Some(key.to_string())),
    )
}

fn shown(console: &Console, made: &Made) -> Result<Exit, Failure> {
    if console.json {
        console.answer_json(made)?;
        return Ok(Exit::Done);
    }
    let mut text = match (&made.id, made.dry_run) {
        (Some(id), _) => format!("made the archive {}\n  id         {id}\n", made.location),
        (None, _) => format!("would make the archive {}\n", made.location),
    };
    for recipient in &made.recipients {
        text.push_str(&format!("  recipient  {recipient}\n"));
    }
    let key = made.host_key.as_deref().unwrap_or("(would be made)");
    text.push_str(&format!("  host key   {key}\n"));
    if !made.dry_run {
        text.push_str(
            "keep id and host key beside the identity: they tell this archive from a false one\n",
        );
    }
    console.answer(&text)?;
    Ok(Exit::Done)
}
