//! `archive annotate`: something is said of a restore point.

use serde::Serialize;
use terrarium_core::select;
use terrarium_s3::archive::Remark;

use crate::archive::Session;
use crate::archive::args::AnnotateArgs;
use crate::archive::get::not_selected;
use crate::archive::list::no_such_name;
use crate::archive::points::{Listed, Points};
use crate::exit::{Exit, Failure};
use crate::render::{JSON_VERSION, one_line};

#[derive(Serialize)]
struct Annotated {
    version: u32,
    exit_code: u8,
    /// Not if that was said already.
    written: bool,
    point: Listed,
}

/// Says it, signed by this host.
pub(super) async fn annotate(args: &AnnotateArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let (archive, key) = session.open_to_write().await?;
    let points = Points::read(&archive).await?;
    let of_name = points.of_name(&args.name);
    if of_name.is_empty() {
        return Err(no_such_name(&args.name, &points));
    }
    let selected = select(&of_name, Some(&args.at), &session.now);
    let point = selected
        .map_err(|error| not_selected(&args.name, error))?
        .point;
    let entry = points.catalog.find(point.lineage, point.guid);
    let entry = entry.ok_or_else(|| no_such_name(&args.name, &points))?;
    let remark = Remark {
        alias: match (&args.alias, args.no_alias) {
            (Some(alias), _) => Some(Some(alias.to_string())),
            (None, true) => Some(None),
            (None, false) => None,
        },
        note: match (&args.note, args.no_note) {
            (Some(note), _) => Some(Some(note.clone())),
            (None, true) => Some(None),
            (None, false) => None,
        },
        pinned: match (args.pin, args.unpin) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        },
    };
    let now = session.now.timestamp();
    let said = archive.annotate(entry.place, &remark, Some(&key), now);
    let (point, written) = said.await?;
    let point = Listed::of(point, true);
    if session.console.json {
        session.console.answer_json(&Annotated {
            version: JSON_VERSION,
            exit_code: Exit::Done.code(),
            written,
            point,
        })?;
        return Ok(Exit::Done);
    }
    let snapshot = one_line(point.snapshot.as_str());
    let mut said = Vec::new();
    said.extend(
        point
            .alias
            .map(|alias| format!("alias {}", one_line(&alias))),
    );
    said.extend(point.pinned.then(|| "pinned".to_owned()));
    said.extend(point.note.map(|note| format!("note: {}", one_line(&note))));
    let said = match said.is_empty() {
        true => "nothing is said of it".to_owned(),
        false => said.join(", "),
    };
    let unchanged = if written { "" } else { ", as before" };
    let guid = point.guid;
    session
        .console
        .answer(&format!("{snapshot} (guid {guid}){unchanged}: {said}\n"))?;
    Ok(Exit::Done)
}
