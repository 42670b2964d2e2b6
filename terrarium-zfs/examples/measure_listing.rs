//! Measures ways to list snapshots; docs/benchmarks.md has the figures.
//!
//!     measure_listing build POOL/DATASET DATASETS SNAPSHOTS   make them, with user properties
//!     measure_listing measure POOL/DATASET ROUNDS [WAY…]      time all or these ways, alternating
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use terrarium_zfs::nvlist::NvList;
use terrarium_zfs::{DatasetName, Limits, Properties, UserProperties, ZfsCore};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let core = ZfsCore::open()?;
    match arguments[..] {
        ["build", root, datasets, snapshots] => build(
            core,
            &DatasetName::new(root)?,
            datasets.parse()?,
            snapshots.parse()?,
        ),
        ["measure", root, rounds, ref ways @ ..] => {
            measure(core, &DatasetName::new(root)?, rounds.parse()?, ways)
        }
        _ => Err("see the head of the source for the arguments".into()),
    }
}

fn build(
    core: ZfsCore,
    root: &DatasetName,
    datasets: usize,
    snapshots: usize,
) -> Result<(), Box<dyn Error>> {
    let properties = |n: usize| -> UserProperties {
        [
            ("terrarium:kind", "scheduled".to_owned()),
            ("terrarium:period", "hourly".to_owned()),
            ("terrarium:config", format!("{n:064x}")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    };
    core.create(root, &Properties::new())?;
    let names = (0..datasets).map(|n| root.child(&format!("container {n}")));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    for name in &names {
        core.create(name, &Properties::new())?;
        core.set_user_properties(
            name.as_str(),
            &[(
                "terrarium:lineage".to_owned(),
                Some("inherited by snapshots".to_owned()),
            )]
            .into(),
        )?;
    }
    for n in 0..snapshots {
        let name = format!("autosnap_{n:06}_hourly");
        let wanted: Result<Vec<_>, _> = names.iter().map(|of| of.snapshot(&name)).collect();
        core.snapshot(&wanted?, &properties(n))?;
    }
    Ok(())
}

/// Times each way, alternating so that drift of the machine meets all alike.
fn measure(
    core: ZfsCore,
    root: &DatasetName,
    rounds: usize,
    wanted: &[&str],
) -> Result<(), Box<dyn Error>> {
    type Way<'a> = (&'a str, Box<dyn Fn() -> Result<usize, Box<dyn Error>> + 'a>);
    let mut ways: Vec<Way<'_>> = vec![
        (
            "ZfsCore::list",
            Box::new(|| Ok(core.list(root, &OF_SNAPSHOTS)?.snapshots.len())),
        ),
        (
            "channel program",
            Box::new(|| by_channel_program(core, root)),
        ),
        (
            "zfs list of names",
            Box::new(|| zfs(&["list", "-r", "-t", "all", "-o", "name"], root)),
        ),
        (
            "zfs get all",
            Box::new(|| {
                let what = [
                    "get",
                    "-r",
                    "-s",
                    "local",
                    "-t",
                    "filesystem,volume,snapshot",
                ];
                zfs(&[&what[..], &["all"]].concat(), root)
            }),
        ),
    ];
    ways.retain(|(name, _)| wanted.is_empty() || wanted.contains(name));
    let mut times = vec![Vec::new(); ways.len()];
    let mut counts = vec![0; ways.len()];
    for _ in 0..rounds {
        for (n, (_, way)) in ways.iter().enumerate() {
            let start = Instant::now();
            counts[n] = way()?;
            times[n].push(start.elapsed());
        }
    }
    for (n, (name, _)) in ways.iter().enumerate() {
        times[n].sort();
        let range: Vec<Duration> = times[n].clone();
        let median = range[range.len() / 2];
        println!(
            "{name}: {} counted, median {median:.2?} of {rounds} ({:.2?} to {:.2?})",
            counts[n],
            range[0],
            range[range.len() - 1]
        );
    }
    Ok(())
}

const OF_SNAPSHOTS: [&str; 3] = ["terrarium:kind", "terrarium:period", "terrarium:config"];

/// Runs `zfs` and counts the lines of its output.
fn zfs(arguments: &[&str], root: &DatasetName) -> Result<usize, Box<dyn Error>> {
    let output = Command::new("zfs")
        .arg(arguments[0])
        .arg("-Hp")
        .args(&arguments[1..])
        .arg(root.as_str())
        .output()?;
    Ok(output.stdout.split(|&byte| byte == b'\n').count())
}

fn by_channel_program(core: ZfsCore, root: &DatasetName) -> Result<usize, Box<dyn Error>> {
    let mut arguments = NvList::new()?;
    arguments.add_str("root", root.as_str())?;
    let result = core.channel_program_nosync(root.pool(), PROGRAM, Limits::MAX, &arguments)?;
    let table = result
        .value("return")
        .and_then(|value| value.list())
        .ok_or("no table")?;
    let mut count = 0;
    let mut characters = 0;
    for (name, snapshot) in table {
        let snapshot = snapshot.list().ok_or("no table")?;
        let numbers = snapshot
            .value("n")
            .and_then(|value| value.text())
            .ok_or("no numbers")?;
        characters += name.to_bytes().len() + numbers.len();
        if let Some(properties) = snapshot.value("p").and_then(|value| value.list()) {
            for (name, value) in properties {
                characters += name.to_bytes().len() + value.text().map_or(0, |text| text.len());
            }
        }
        count += 1;
    }
    std::hint::black_box(characters);
    Ok(count)
}

/// What a listing needs of each snapshot, packed to stay within the memory limit.
const PROGRAM: &str = r#"
local root = (...).root
local get = zfs.get_prop
local answer = {}
local function visit(dataset)
    for snapshot in zfs.list.snapshots(dataset) do
        local entry = {
            n = get(snapshot, "guid") .. " " .. get(snapshot, "createtxg") .. " "
                .. get(snapshot, "creation") .. " " .. get(snapshot, "used") .. " "
                .. get(snapshot, "referenced") .. " " .. get(snapshot, "written") .. " "
                .. get(snapshot, "userrefs")
        }
        for name, value, source in zfs.list.user_properties(snapshot) do
            if source == snapshot then
                entry.p = entry.p or {}
                entry.p[name] = value
            end
        end
        for clone in zfs.list.clones(snapshot) do
            entry.c = entry.c or {}
            entry.c[clone] = true
        end
        answer[snapshot] = entry
    end
    for child in zfs.list.children(dataset) do
        visit(child)
    end
end
visit(root)
return answer
"#;
