//! `archive verify`.

use std::sync::Arc;

use terrarium_s3::archive::{Depth, State, Verification};
use terrarium_s3::pipeline::Options;

use crate::archive::Session;
use crate::archive::args::VerifyArgs;
use crate::archive::identity::identities;
use crate::exit::{Exit, Failure};
use crate::render;

/// Verifies, and shows what is damaged and what that affects.
pub(super) async fn verify(args: &VerifyArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let depth = match args.deep {
        true => Depth::Deep(Arc::new(identities(&args.identity).await?)),
        false => Depth::Shallow,
    };
    let archive = session.open().await?;
    session.compare(&archive)?;
    let console = session.console;
    let told = |place: &terrarium_s3::format::ManifestPlace| {
        if console.watched {
            console.tell(&format!("read back {}", place.guid));
        }
    };
    let name = args.name.as_deref();
    let options = Options::default();
    let found = archive.verify(&depth, name, &options, told);
    let found = found.await?;
    if let (true, Some(name)) = (found.points.is_empty(), name) {
        let why = format!("the archive has no restore points of {name:?}");
        return Err(Failure::new(Exit::Refused, why));
    }
    let exit = judge(&found)?;
    let shown = render::archive::Verified {
        found: &found,
        deep: args.deep,
    };
    match console.json {
        true => console.answer_json(&shown.json(exit))?,
        false => console.answer(&shown.text())?,
    }
    Ok(exit)
}

/// What the caller is told.
///
/// # Errors
/// [`Exit::Refused`] if nothing is damaged, and nothing was read.
pub(crate) fn judge(found: &Verification) -> Result<Exit, Failure> {
    if is_unread(found) {
        let why = "none of the identities can decrypt any of these points";
        return Err(Failure::new(Exit::Refused, why)
            .with_help("`archive list --json` says whom the archive is encrypted to"));
    }
    Ok(match found.is_whole() {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// Nothing is damaged, and nothing was read.
fn is_unread(found: &Verification) -> bool {
    !found.points.is_empty()
        && found
            .points
            .iter()
            .all(|point| point.state == State::Unread)
}
