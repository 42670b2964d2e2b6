//! How long it takes to decide about a million points: `cargo run --release --example million -p terrarium-core
//! --all-features`.

#![allow(
    clippy::print_stdout,
    reason = "a program that reports what it measures"
)]

use std::time::Instant;

use jiff::{SignedDuration, Zoned};
use terrarium_core::fake::scheduled_point;
use terrarium_core::policy::{Facts, Period, Policy, due, plan_retention};
use terrarium_zfs::DatasetName;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Zoned::now();
    let snapshot = DatasetName::new("tank/containers/web")?.snapshot("any")?;
    let point = |(number, period): (u64, Period)| {
        // Every ten minutes for nineteen years, not in the order of time.
        let age = number.wrapping_mul(7_919) % 1_000_000 * 600;
        let age = SignedDuration::from_secs(i64::try_from(age).unwrap_or(i64::MAX));
        scheduled_point(snapshot.clone(), number, period, now.timestamp() - age)
    };
    let periods = Period::ALL.into_iter().cycle();
    let points: Vec<_> = (0..1_000_000).zip(periods).map(point).collect();
    let policy = Policy::default();

    let begun = Instant::now();
    let verdicts = plan_retention(&points, &policy, &Facts::default(), &now);
    let retention = begun.elapsed();
    let begun = Instant::now();
    let due = due(&points, &policy, false, &now);
    let looked = begun.elapsed();

    let kept = verdicts.iter().filter(|verdict| verdict.keep).count();
    println!("{} points: {kept} kept, {retention:?}", points.len());
    println!("{} due: {looked:?}", due.len());
    Ok(())
}
