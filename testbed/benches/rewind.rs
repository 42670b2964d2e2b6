//! How long a running container is away for a rewind, against doing it by hand.
//!
//! By hand is `lxc stop`, `zfs rollback -r`, `lxc start`: no way back, no check, LXD's records of
//! snapshots left wrong. Both stop gracefully and both ways take turns, each on a container of its own
//! that is written to before every round.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::{Duration, Instant};

use testbed::{Instance, lxc, run, terrariumctl, zfs};

const ROUNDS: usize = 5;

fn main() {
    testbed::assert_in_guest();
    type Way<'a> = (&'a str, &'a dyn Fn(&Instance));
    let ways: [Way<'_>; 3] = [
        ("by hand", &by_hand),
        ("terrariumctl backup restore", &|instance| {
            restore(instance, &[])
        }),
        ("terrariumctl backup restore --destroy-newer", &|instance| {
            restore(instance, &["--destroy-newer"]);
        }),
    ];
    let instances = ways.map(|_| {
        let instance = Instance::launch("rewound");
        instance.write_file("/root/f", "before");
        zfs(["snapshot", &format!("{}@point", instance.dataset())]);
        instance
    });
    let mut times = ways.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (n, (_, way)) in ways.iter().enumerate() {
            let instance = &instances[n];
            run("lxc")
                .args(["exec", "-T", instance.name(), "--", "sh", "-c"])
                .arg("dd if=/dev/zero of=/root/more bs=1M count=8 2> /dev/null; echo after > /root/f; sync")
                .finish()
                .succeeds();
            let start = Instant::now();
            way(instance);
            times[n].push(start.elapsed());
            assert_eq!(instance.read_file("/root/f"), "before");
        }
    }
    println!("rewind of a running container, medians of {ROUNDS}:");
    for ((name, _), times) in std::iter::zip(ways, &mut times) {
        println!(
            "  {:>6.2} s  {name}  ({})",
            seconds(median(times)),
            all(times)
        );
    }
}

fn by_hand(instance: &Instance) {
    lxc(["stop", instance.name(), "--timeout", "30"]);
    zfs(["rollback", "-r", &format!("{}@point", instance.dataset())]);
    lxc(["start", instance.name()]);
}

fn restore(instance: &Instance, options: &[&str]) {
    let command = [
        "backup",
        "restore",
        "--yes",
        "--start",
        "--at",
        "point",
        "--instance",
    ];
    terrariumctl([&command[..], &[instance.name()], options].concat()).succeeds();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn all(times: &[Duration]) -> String {
    let times = times.iter().map(|time| format!("{:.2}", seconds(*time)));
    times.collect::<Vec<_>>().join(", ")
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
