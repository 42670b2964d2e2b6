//! Snapshot, rewind and undo one container from Rust.
//!
//! ```text
//! time_machine snapshot web
//! time_machine restore web [POINT]
//! time_machine undo web
//! time_machine as-new web web-2 [POINT]
//! ```
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::env;
use std::error::Error;
use std::time::Duration;

use jiff::Zoned;
use lxd_client::Client;
use terrarium_core::plan::IdentityPolicy;
use terrarium_core::{
    Begun, Destination, Folders, Host, InstanceRef, RestoreRequest, Silent, Stop,
};
use terrarium_zfs::ZfsCore;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [action, instance, rest @ ..] = words.as_slice() else {
        return Err("snapshot, restore, undo or as-new, and an instance".into());
    };
    let instance: InstanceRef = instance.parse()?;

    let host = Host::new(
        ZfsCore::open()?,
        Client::connect().await?,
        &Folders::default(),
    );
    let begun = host
        .begin(
            std::slice::from_ref(&instance),
            action,
            Zoned::now(),
            &Silent,
        )
        .await?;
    let session = match begun {
        Begun::Ready(session) => session,
        Begun::Stuck(report) => return Err(format!("{report:#?}").into()),
    };
    let planner = session.planner();
    for report in planner.recovered() {
        println!("recovered: {}", report.title);
    }

    let stop = Stop::Graceful(Duration::from_secs(30));
    let restore = |at: Option<&&str>, to| RestoreRequest {
        at: at.map(|at| (*at).to_owned()),
        start: true,
        to,
    };
    let plan = match *action {
        "snapshot" => Some(planner.plan_snapshot(&[instance], None, None)?),
        "undo" => planner.plan_undo(&instance, true, stop).await?,
        "restore" => {
            let in_place = Destination::InPlace {
                stop,
                destroy_newer: false,
            };
            planner
                .plan_restore(&instance, &restore(rest.first(), in_place))
                .await?
        }
        "as-new" => {
            let as_new = Destination::AsNew {
                new: rest.first().ok_or("a name for the new instance")?.parse()?,
                identity: IdentityPolicy::default(),
            };
            planner
                .plan_restore(&instance, &restore(rest.get(1), as_new))
                .await?
        }
        other => return Err(format!("unknown action {other}").into()),
    };
    let Some(plan) = plan else {
        println!("done already");
        return Ok(());
    };
    for step in &plan.steps {
        println!("plan: {} ({})", step.action, step.why);
    }
    let report = session.execute(&plan, &Silent).await;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
