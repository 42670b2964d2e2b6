//! Where a stream belongs: which lineage it joins, if it is not there already.

use terrarium_s3::format::{Base, Lineage};
use terrarium_zfs::Guid;

use crate::archive::args::PutArgs;
use crate::archive::points::{Listed, Points};
use crate::exit::{Exit, Failure};

/// What the stream says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub(super) guid: Guid,
    pub(super) from: Option<Guid>,
    /// It starts from the snapshot of another dataset, which its own was cloned from.
    pub(super) is_clone: bool,
}

/// What is done with it.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// Nothing: it is there.
    There(Box<Listed>),
    /// It is stored.
    Store {
        /// The lineage that it joins; none if it begins one.
        lineage: Option<Lineage>,
        /// What it starts from.
        base: Base,
    },
}

/// Decides. Only points that may be trusted count.
///
/// # Errors
/// [`Exit::Refused`], [`Exit::Usage`].
pub(super) fn decide(
    points: &Points,
    incoming: &Incoming,
    args: &PutArgs,
) -> Result<Decision, Failure> {
    let name = &args.name;
    let of_name: Vec<Listed> = points
        .of_name(name)
        .into_iter()
        .filter(|point| point.trusted && args.lineage.is_none_or(|only| point.lineage == only))
        .collect();
    if let (Some(lineage), true) = (args.lineage, of_name.is_empty()) {
        return refused(format!("{name:?} has no lineage {lineage}"));
    }
    if let Some(there) = of_name.iter().find(|point| point.guid == incoming.guid) {
        return Ok(Decision::There(Box::new(there.clone())));
    }
    let decision = match incoming.from {
        None => Decision::Store {
            lineage: lineage_of_a_full_one(points, &of_name, args)?,
            base: Base::Full,
        },
        Some(from) => {
            let mut bases: Vec<Lineage> = of_name
                .iter()
                .filter(|point| point.guid == from)
                .map(|point| point.lineage)
                .collect();
            bases.dedup();
            match bases[..] {
                _ if args.new_lineage && !incoming.is_clone => {
                    let why = "--new-lineage is for a full stream, and this one is incremental";
                    return Err(Failure::new(Exit::Usage, why));
                }
                [lineage] => Decision::Store {
                    lineage: Some(lineage),
                    base: Base::Point(from),
                },
                [] if incoming.is_clone && is_there(points, from) => Decision::Store {
                    lineage: lineage_of_a_full_one(points, &of_name, args)?,
                    base: Base::Origin(from),
                },
                [] => return Err(no_base(points, from, name)),
                _ => return Err(several(name, &bases)),
            }
        }
    };
    if let Decision::Store {
        lineage: Some(lineage),
        ..
    } = decision
    {
        refuse_what_is_taken(points, &of_name, lineage, incoming, args)?;
    }
    Ok(decision)
}

fn lineage_of_a_full_one(
    points: &Points,
    of_name: &[Listed],
    args: &PutArgs,
) -> Result<Option<Lineage>, Failure> {
    if args.new_lineage {
        return Ok(None);
    }
    let mut lineages: Vec<_> = of_name.iter().map(|point| point.lineage).collect();
    lineages.sort_unstable();
    lineages.dedup();
    match lineages[..] {
        [lineage] => Ok(Some(lineage)),
        [] => {
            let known = |lineage| points.listed.iter().any(|point| point.lineage == lineage);
            let mut unknown = points
                .unreadable
                .iter()
                .filter(|point| !known(point.lineage));
            match unknown.next() {
                None => Ok(None),
                Some(point) => {
                    let why = format!(
                        "{} cannot be read, and could be of {:?}: {}",
                        point.object, args.name, point.error
                    );
                    let help = "--new-lineage begins a lineage whatever that one is";
                    Err(Failure::new(Exit::Refused, why).with_help(help))
                }
            }
        }
        _ => Err(several(&args.name, &lineages)),
    }
}

fn refuse_what_is_taken(
    points: &Points,
    of_name: &[Listed],
    lineage: Lineage,
    incoming: &Incoming,
    args: &PutArgs,
) -> Result<(), Failure> {
    if points.catalog.find(lineage, incoming.guid).is_some() {
        let why = format!(
            "the snapshot {} has a manifest already, which is damaged or not signed",
            incoming.guid
        );
        return Err(Failure::new(Exit::Refused, why)
            .with_help("`terrariumctl archive verify` says what is wrong with it"));
    }
    let Some(alias) = &args.alias else {
        return Ok(());
    };
    let alias = alias.to_string();
    let taken = |point: &&Listed| point.lineage == lineage && point.alias.as_ref() == Some(&alias);
    match of_name.iter().find(taken) {
        None => Ok(()),
        Some(point) => refused(format!(
            "the alias {alias:?} is that of {} (guid {})",
            point.snapshot, point.guid
        )),
    }
}

fn is_there(points: &Points, guid: Guid) -> bool {
    points
        .listed
        .iter()
        .any(|point| point.guid == guid && point.trusted)
}

fn no_base(points: &Points, from: Guid, name: &str) -> Failure {
    let elsewhere = points.listed.iter().find(|point| point.guid == from);
    let why = format!(
        "the stream starts from the snapshot {from}, which is not in the archive as one of {name:?}"
    );
    Failure::new(Exit::Refused, why).with_help(match elsewhere {
        Some(point) => format!(
            "it is there as one of {:?}: was --name meant so?",
            point.name
        ),
        None => "store that one first, or send a full stream".to_owned(),
    })
}

fn several(name: &str, lineages: &[Lineage]) -> Failure {
    let lineages = lineages.iter().map(ToString::to_string);
    Failure {
        details: lineages.collect(),
        ..Failure::new(
            Exit::Refused,
            format!("{name:?} has several lineages, and the stream could belong to any"),
        )
        .with_help("choose one with --lineage, or begin another with --new-lineage")
    }
}

fn refused<T>(why: String) -> Result<T, Failure> {
    Err(Failure::new(Exit::Refused, why))
}
