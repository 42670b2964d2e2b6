//! `archive list`.

use crate::archive::Session;
use crate::archive::args::ListArgs;
use crate::archive::points::Points;
use crate::exit::{Exit, Failure};
use crate::render;

/// Shows the restore points. One whose manifest cannot be read is shown too, and makes it fail.
pub(super) async fn list(args: &ListArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let archive = session.open().await?;
    let pinned = session.compare(&archive)?;
    let mut points = Points::read(&archive).await?;
    if let Some(name) = &args.name {
        if !points.names().contains(&name.as_str()) {
            return Err(no_such_name(name, &points));
        }
        points.listed.retain(|point| point.name == *name);
    }
    let shown = render::archive::Shown {
        location: &session.location,
        document: archive.document(),
        pinned,
        points: &points,
    };
    let exit = match points.unreadable.is_empty() {
        true => Exit::Done,
        false => Exit::Failed,
    };
    let console = session.console;
    match console.json {
        true => console.answer_json(&shown.json(exit))?,
        false => console.answer(&shown.text(&session.now))?,
    }
    Ok(exit)
}

/// The archive has no point of a name.
pub(crate) fn no_such_name(name: &str, points: &Points) -> Failure {
    let failure = Failure::new(
        Exit::Refused,
        format!("the archive has no restore points of {name:?}"),
    );
    match &points.names()[..] {
        [] => failure,
        names => failure.with_help(format!("it has those of {}", names.join(", "))),
    }
}
