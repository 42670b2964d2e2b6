//! What history a policy will hold: a timeline for a terminal, and a drawing.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use terrarium_core::policy::{History, Period, Policy};

use super::table::{Align, Table};
use super::{JSON_VERSION, units};
use crate::exit::Exit;

/// Columns of the timeline.
const WIDTH: usize = 64;

/// What is marked on the scale, as far as it fits: seconds and name.
const MARKS: [(i64, &str); 9] = [
    (HOUR, "1h"),
    (6 * HOUR, "6h"),
    (DAY, "1d"),
    (3 * DAY, "3d"),
    (7 * DAY, "1w"),
    (30 * DAY, "30d"),
    (91 * DAY, "91d"),
    (365 * DAY, "1y"),
    (1826 * DAY, "5y"),
];
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The least age that the scale tells apart from none: the timer runs as often.
const LEAST: f64 = 900.0;

/// For people.
pub(crate) fn text(policy: &Policy, history: &History) -> String {
    let left = |title: &str| (title.to_owned(), Align::Left);
    let right = |title: &str| (title.to_owned(), Align::Right);
    let mut table = Table::new([
        left("PERIOD"),
        left(&scale(history)),
        right("HELD"),
        right("BACK TO"),
        right("APART"),
        right("TAKEN"),
    ]);
    for period in shown(policy, history) {
        let row = Row::of(period, history);
        let span = |span: Option<SignedDuration>| span.map_or("-".to_owned(), units::span);
        table.row(vec![
            period.to_string(),
            line(&row.ages, history),
            row.ages.len().to_string(),
            span(row.ages.first().copied()),
            span(row.apart),
            row.taken.to_string(),
        ]);
    }
    let mut text = heading(policy, history) + "\n\n";
    text.push_str(&table.text(""));
    text.push_str(
        "\n| a snapshot, # several; BACK TO is the age of the oldest, APART the most between two\n",
    );
    text
}

/// As versioned JSON.
pub(crate) fn json<'a>(policy: &'a Policy, history: &'a History) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Answer<'a> {
        version: u32,
        exit_code: u8,
        policy: &'a Policy,
        most: u64,
        history: &'a History,
    }
    Answer {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        policy,
        most: history.most(),
        history,
    }
}

/// What is said of one period.
struct Row {
    /// The ages of what is held, the oldest first.
    ages: Vec<SignedDuration>,
    /// The most between two of them.
    apart: Option<SignedDuration>,
    taken: u64,
}

impl Row {
    fn of(period: Period, history: &History) -> Self {
        let end = history.end.timestamp();
        let held: Vec<Timestamp> = history.of(period).collect();
        let apart = |pair: &[Timestamp]| match pair {
            [older, newer] => Some(newer.duration_since(*older)),
            _ => None,
        };
        Self {
            ages: held.iter().map(|at| end.duration_since(*at)).collect(),
            apart: held.windows(2).filter_map(apart).max(),
            taken: history.taken.get(&period).copied().unwrap_or(0),
        }
    }
}

fn shown(policy: &Policy, history: &History) -> Vec<Period> {
    let has_any = |period: &Period| history.of(*period).next().is_some();
    let mut periods = Period::ALL.to_vec();
    periods.retain(|period| policy.count(*period) > 0 || has_any(period));
    periods
}

fn heading(policy: &Policy, history: &History) -> String {
    let days = history
        .end
        .timestamp()
        .duration_since(history.start.timestamp());
    let mut text = format!(
        "{policy}: after {} there are {} snapshots, and at the end of no day more than {}.",
        units::span(days),
        history.held.len(),
        history.most()
    );
    if !policy.take {
        text.push_str(" None are taken: autosnap is off.");
    }
    if !policy.prune {
        text.push_str(" None are removed: autoprune is off.");
    }
    text
}

/// How far back on the scale an age is: 0 is now, 1 is where the simulation began. Logarithmic, as an hour matters
/// today what a week matters in a year.
fn back(age: SignedDuration, history: &History) -> f64 {
    let whole = history
        .end
        .timestamp()
        .duration_since(history.start.timestamp());
    let reach = (whole.as_secs_f64() / LEAST + 1.0)
        .ln()
        .max(f64::MIN_POSITIVE);
    ((age.as_secs_f64().max(0.0) / LEAST + 1.0).ln() / reach).clamp(0.0, 1.0)
}

/// The column of an age, the last one being now.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "from 0 to the width"
)]
fn column(age: SignedDuration, history: &History) -> usize {
    let last = WIDTH - 1;
    last - ((back(age, history) * last as f64).round() as usize).min(last)
}

fn line(ages: &[SignedDuration], history: &History) -> String {
    let mut counts = [0_usize; WIDTH];
    for age in ages {
        if let Some(count) = counts.get_mut(column(*age, history)) {
            *count += 1;
        }
    }
    let mark = |count: &usize| match count {
        0 => '.',
        1 => '|',
        _ => '#',
    };
    counts.iter().map(mark).collect()
}

/// The names of the marks, each ending at its column, as far as they do not run into each other.
fn scale(history: &History) -> String {
    let mut columns = vec![' '; WIDTH];
    let mut place = |end: usize, name: &str| {
        let Some(begin) = (end + 1).checked_sub(name.len()) else {
            return;
        };
        // A blank on both sides.
        let around = begin.saturating_sub(1)..=(end + 1).min(WIDTH - 1);
        if columns
            .get(around)
            .is_some_and(|free| free.iter().all(|c| *c == ' '))
        {
            for (slot, c) in columns.iter_mut().skip(begin).zip(name.chars()) {
                *slot = c;
            }
        }
    };
    place(WIDTH - 1, "now");
    let whole = history
        .end
        .timestamp()
        .duration_since(history.start.timestamp());
    for (seconds, name) in MARKS {
        let age = SignedDuration::from_secs(seconds);
        if age <= whole {
            place(column(age, history), name);
        }
    }
    let scale: String = columns.into_iter().collect();
    scale.trim_end().to_owned()
}

/// As a drawing, with the same scale.
pub(crate) fn svg(policy: &Policy, history: &History) -> String {
    const LEFT: f64 = 100.0;
    const WIDE: f64 = 680.0;
    let periods = shown(policy, history);
    let x = |age: SignedDuration| LEFT + WIDE * (1.0 - back(age, history));
    let mut rows = String::new();
    let mut y = 70.0;
    for period in periods {
        let row = Row::of(period, history);
        let _ = writeln!(
            rows,
            "<text x=\"12\" y=\"{:.0}\">{}</text><text x=\"796\" y=\"{:.0}\">{}</text>",
            y + 4.0,
            escape(period.name()),
            y + 4.0,
            row.ages.len()
        );
        let _ = writeln!(
            rows,
            "<line x1=\"{LEFT}\" y1=\"{y:.0}\" x2=\"{:.0}\" y2=\"{y:.0}\" stroke=\"#ddd\"/>",
            LEFT + WIDE
        );
        let mut drawn = None;
        for age in &row.ages {
            // Thousands of points at one place are one mark.
            let place = format!("{:.1}", x(*age));
            if drawn.as_ref() != Some(&place) {
                let _ = writeln!(rows, "<circle cx=\"{place}\" cy=\"{y:.0}\" r=\"3\"/>");
                drawn = Some(place);
            }
        }
        y += 28.0;
    }
    let mut scale = String::new();
    let whole = history
        .end
        .timestamp()
        .duration_since(history.start.timestamp());
    let marks = [(0, "now")].into_iter().chain(MARKS);
    for (seconds, name) in marks {
        let age = SignedDuration::from_secs(seconds);
        if age <= whole {
            let _ = writeln!(
                scale,
                "<line x1=\"{0:.1}\" y1=\"52\" x2=\"{0:.1}\" y2=\"{1:.0}\" stroke=\"#eee\"/>\
                 <text x=\"{0:.1}\" y=\"{2:.0}\" text-anchor=\"middle\">{name}</text>",
                x(age),
                y - 12.0,
                y + 4.0
            );
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"840\" height=\"{0:.0}\" viewBox=\"0 0 840 {0:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#246\">\n\
         <title>{1}</title>\n<text x=\"12\" y=\"28\" fill=\"#000\">{1}</text>\n{scale}{rows}</svg>\n",
        y + 20.0,
        escape(&heading(policy, history)),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use terrarium_core::policy::simulate;

    use super::*;

    fn default(days: u32) -> (Policy, History) {
        let start = "2026-11-23T09:07:00+01:00[Europe/Berlin]".parse().unwrap();
        let history = simulate(&Policy::default(), &start, days);
        (Policy::default(), history)
    }

    #[test]
    fn a_history_is_a_timeline_for_each_period() {
        let (policy, history) = default(400);
        insta::assert_snapshot!(text(&policy, &history));
    }

    #[test]
    fn a_policy_that_takes_or_removes_nothing_is_said_to() {
        let mut policy = Policy::default();
        (policy.take, policy.prune) = (false, false);
        let start = "2026-11-23T09:07:00+01:00[Europe/Berlin]".parse().unwrap();
        let text = text(&policy, &simulate(&policy, &start, 1));
        assert!(text.contains("there are 0 snapshots"), "{text}");
        assert!(
            text.contains("None are taken: autosnap is off. None are removed"),
            "{text}"
        );
    }

    /// Opens and closes elements; no attribute here holds an angle bracket.
    fn is_well_formed(xml: &str) -> bool {
        let mut open = Vec::new();
        let mut rest = xml;
        while let Some((before, after)) = rest.split_once('<') {
            let Some((tag, behind)) = after.split_once('>') else {
                return false;
            };
            if before.contains('>') || tag.matches('"').count() % 2 == 1 {
                return false;
            }
            match (tag.strip_prefix('/'), tag.ends_with('/')) {
                (Some(name), _) if open.pop() != Some(name) => return false,
                (Some(_), _) | (None, true) => {}
                (None, false) => open.push(tag.split(' ').next().unwrap_or(tag)),
            }
            rest = behind;
        }
        open.is_empty() && !rest.contains('>')
    }

    #[test]
    fn a_drawing_is_well_formed_and_shows_every_period() {
        let (policy, history) = default(400);
        let svg = svg(&policy, &history);
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.starts_with("<svg xmlns="));
        for period in ["frequently", "hourly", "daily", "monthly", "91d", "now"] {
            assert!(
                svg.contains(&format!(">{period}</text>")),
                "{period}: {svg}"
            );
        }
        assert_eq!(svg.matches("<circle").count(), history.held.len());
        assert!(svg.len() < 16 << 10, "{}", svg.len());
        // The check of the check.
        assert!(!is_well_formed(&svg.replace("</title>", "")));
        assert!(!is_well_formed(&svg.replace("</svg>", "</svg")));
    }

    #[test]
    fn a_day_is_drawn_as_well_as_three_years() {
        for days in [1, 1100] {
            let (policy, history) = default(days);
            assert!(is_well_formed(&svg(&policy, &history)));
            for line in text(&policy, &history).lines() {
                assert!(line.chars().count() <= 120, "{line}");
            }
        }
    }
}
