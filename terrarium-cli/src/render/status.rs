//! How it stands with all instances, for people and for Prometheus.

use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use terrarium_core::RunRecord;
use terrarium_core::status::{GraveyardStatus, InstanceStatus, PeriodStatus, State, Status};

use super::table::{Align, Table};
use super::{one_line, units};

/// For people.
pub(crate) fn text(status: &Status, last_run: Option<&RunRecord>, now: &Zoned) -> String {
    let at = now.timestamp();
    let left = |title: &str| (title.to_owned(), Align::Left);
    let right = |title: &str| (title.to_owned(), Align::Right);
    let mut table = Table::new([
        left("INSTANCE"),
        left("STATE"),
        left("NEWEST"),
        left("NEXT"),
        right("POINTS"),
        right("SPACE"),
        left("POLICY: NEWEST OF EACH"),
    ]);
    for one in &status.instances {
        let next = one.periods.iter().map(|period| period.next).min();
        table.row(vec![
            one_line(&one.instance.to_string()),
            state(one.state).to_owned(),
            one.newest
                .map_or("none".to_owned(), |newest| units::age(newest, at)),
            next.map_or("-".to_owned(), |next| due(next, at)),
            one.points.to_string(),
            units::size(one.snapshot_bytes),
            periods(one, at),
        ]);
    }
    let mut text = table.text("");
    for one in &status.instances {
        if let (State::NotCovered, Some(why)) = (one.state, &one.not_covered) {
            let _ = writeln!(text, "  not covered: {}: {}", one.instance, one_line(why));
        }
        for problem in &one.label_problems {
            let _ = writeln!(text, "  warning: {}: {}", one.instance, one_line(problem));
        }
    }
    for problem in &status.problems {
        let (pool, why) = (one_line(&problem.lxd_pool), one_line(&problem.why));
        let _ = writeln!(text, "  warning: storage pool {pool} cannot be read: {why}");
    }
    for instance in &status.cut_off {
        let _ = writeln!(
            text,
            "  warning: an operation on {instance} was cut off; the next run recovers it"
        );
    }
    if status.graveyard.instances > 0 {
        let _ = writeln!(text, "{}", graveyard(&status.graveyard, at));
    }
    text.push_str(&run(last_run, at));
    text
}

fn graveyard(graveyard: &GraveyardStatus, at: Timestamp) -> String {
    let (count, space) = (graveyard.instances, units::size(graveyard.space));
    let plural = if count == 1 { "" } else { "s" };
    let until = match graveyard.next_expires {
        Some(expires) if expires > at => {
            format!("; the first is purged {}", units::until(expires, at))
        }
        _ => "; the next run purges the first".to_owned(),
    };
    format!("graveyard: {count} destroyed instance{plural}, {space}{until}")
}

fn state(state: State) -> &'static str {
    match state {
        State::Fresh => "fresh",
        State::Late => "LATE",
        State::Off => "off",
        _ => "not covered",
    }
}

fn due(next: Timestamp, at: Timestamp) -> String {
    if next <= at {
        "now".to_owned()
    } else {
        units::until(next, at)
    }
}

fn periods(one: &InstanceStatus, at: Timestamp) -> String {
    let period = |period: &PeriodStatus| {
        let newest = match period.newest {
            Some(newest) => units::age(newest, at),
            None => "none".to_owned(),
        };
        let late = if period.late_since.is_some() {
            " LATE"
        } else {
            ""
        };
        format!(
            "{} {}/{}: {newest}{late}",
            period.period, period.there, period.wanted
        )
    };
    let periods: Vec<_> = one.periods.iter().map(period).collect();
    periods.join(", ")
}

fn run(last_run: Option<&RunRecord>, at: Timestamp) -> String {
    let Some(run) = last_run else {
        return "there was no run yet: `terrariumctl timers install`\n".to_owned();
    };
    let mut text = format!(
        "last run {} ago: {} taken, {} removed{}\n",
        units::age(run.ended, at),
        run.taken,
        run.removed,
        if run.complete { "" } else { ", NOT COMPLETE" }
    );
    for failure in &run.failures {
        let _ = writeln!(text, "  error: {}", one_line(failure));
    }
    for skipped in &run.skipped {
        let _ = writeln!(text, "  left out: {}", one_line(skipped));
    }
    text
}

/// A metric: its name, what it is, and each of its values with its labels.
struct Metric<'a> {
    name: &'a str,
    help: &'a str,
    values: Vec<(String, String)>,
}

/// In the text format of Prometheus. Times are seconds since 1970, sizes bytes.
pub(crate) fn metrics(status: &Status, last_run: Option<&RunRecord>) -> String {
    let instance = |one: &InstanceStatus| {
        format!(
            "project=\"{}\",instance=\"{}\"",
            label(one.instance.project.as_str()),
            label(one.instance.name.as_str())
        )
    };
    let each = |value: &dyn Fn(&InstanceStatus) -> Option<String>| -> Vec<(String, String)> {
        let values = status
            .instances
            .iter()
            .filter_map(|one| Some((instance(one), value(one)?)));
        values.collect()
    };
    let each_period = |value: &dyn Fn(&PeriodStatus) -> Option<String>| -> Vec<(String, String)> {
        let of = |one: &InstanceStatus| {
            let labels = instance(one);
            let values = one.periods.iter().filter_map(move |period| {
                let labels = format!("{labels},period=\"{}\"", period.period);
                Some((labels, value(period)?))
            });
            values.collect::<Vec<_>>()
        };
        status.instances.iter().flat_map(of).collect()
    };
    let one = |value: String| vec![(String::new(), value)];
    let mut metrics = vec![
        Metric {
            name: "terrarium_instance_fresh",
            help: "Whether an instance has every snapshot that its policy wants.",
            values: each(&|one| {
                matches!(one.state, State::Fresh | State::Late)
                    .then(|| u8::from(one.state == State::Fresh).to_string())
            }),
        },
        Metric {
            name: "terrarium_instance_covered",
            help: "Whether an instance can be snapshotted, and its label does not say that it is not to be.",
            values: each(&|one| {
                Some(u8::from(matches!(one.state, State::Fresh | State::Late)).to_string())
            }),
        },
        Metric {
            name: "terrarium_newest_snapshot_timestamp_seconds",
            help: "When the newest snapshot of an instance was taken, whoever took it.",
            values: each(&|one| Some(one.newest?.as_second().to_string())),
        },
        Metric {
            name: "terrarium_newest_scheduled_timestamp_seconds",
            help: "When the newest scheduled snapshot of a period was taken.",
            values: each_period(&|period| Some(period.newest?.as_second().to_string())),
        },
        Metric {
            name: "terrarium_snapshots",
            help: "How many snapshots of an instance there are.",
            values: each(&|one| Some(one.points.to_string())),
        },
        Metric {
            name: "terrarium_snapshot_bytes",
            help: "Bytes that only snapshots of an instance hold.",
            values: each(&|one| Some(one.snapshot_bytes.to_string())),
        },
    ];
    metrics.push(Metric {
        name: "terrarium_graveyard_instances",
        help: "Destroyed instances that can still come back.",
        values: one(status.graveyard.instances.to_string()),
    });
    metrics.push(Metric {
        name: "terrarium_graveyard_bytes",
        help: "Bytes that destroyed instances hold.",
        values: one(status.graveyard.space.to_string()),
    });
    if let Some(expires) = status.graveyard.next_expires {
        metrics.push(Metric {
            name: "terrarium_graveyard_next_expiry_timestamp_seconds",
            help: "When the first of the destroyed instances cannot come back any more.",
            values: one(expires.as_second().to_string()),
        });
    }
    if let Some(run) = last_run {
        metrics.push(Metric {
            name: "terrarium_last_run_timestamp_seconds",
            help: "When the last run ended.",
            values: one(run.ended.as_second().to_string()),
        });
        metrics.push(Metric {
            name: "terrarium_last_run_complete",
            help: "Whether the last run did all it had to.",
            values: one(u8::from(run.complete).to_string()),
        });
    }
    let mut text = String::new();
    for metric in metrics {
        let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE {} gauge", metric.name);
        for (labels, value) in metric.values {
            let _ = match labels.is_empty() {
                true => writeln!(text, "{} {value}", metric.name),
                false => writeln!(text, "{}{{{labels}}} {value}", metric.name),
            };
        }
    }
    text
}

/// A label's value: what would end it is escaped.
fn label(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}
