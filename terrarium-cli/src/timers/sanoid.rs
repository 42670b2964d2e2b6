//! Whether sanoid takes snapshots of what LXD has: two programs with policies of their own would remove each other's.

use std::path::Path;

use lxd_client::Client;
use terrarium_core::Instances;

use super::systemd;
use crate::console::Console;
use crate::exit::{Exit, Failure};

/// What Debian's package runs sanoid by.
const TIMER: &str = "sanoid.timer";
/// What sanoid reads.
const CONF: &str = "/etc/sanoid/sanoid.conf";

/// Refuses where sanoid runs on a dataset of LXD's.
///
/// # Errors
/// [`Exit::Refused`].
pub(super) async fn refuse_a_running_one(console: &Console) -> Result<(), Failure> {
    let Ok(conf) = std::fs::read_to_string(Path::new(CONF)) else {
        return Ok(());
    };
    if !systemd::is_in_use(TIMER) {
        return Ok(());
    }
    let pools = match Client::connect().await {
        Ok(client) => client.pools().await.ok(),
        Err(_) => None,
    };
    let Some(pools) = pools else {
        console.tell(
            "warning: sanoid runs on this host, and LXD does not say which datasets are its own: sanoid must leave them \
             alone",
        );
        return Ok(());
    };
    let roots: Vec<String> = pools.into_iter().filter_map(|pool| pool.dataset).collect();
    match shared(&conf, &roots) {
        None => Ok(()),
        Some(dataset) => Err(Failure::new(
            Exit::Refused,
            format!("sanoid takes and removes snapshots of {dataset}, which LXD's instances are in; nothing was changed"),
        )
        .with_help(format!(
            "end it by `systemctl disable --now {TIMER}`, or take the dataset out of {CONF}; `terrariumctl adopt sanoid` \
             then has Terrarium keep and remove what it took"
        ))),
    }
}

/// A dataset that sanoid has a section for, and that is one of these, above, or below one of them.
fn shared<'a>(conf: &'a str, roots: &[String]) -> Option<&'a str> {
    let section = |line: &'a str| {
        line.trim()
            .strip_prefix('[')?
            .split_once(']')
            .map(|(name, _)| name.trim())
    };
    let is_within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    conf.lines()
        .filter_map(section)
        .filter(|name| !name.starts_with("template_"))
        .find(|name| {
            roots
                .iter()
                .any(|root| is_within(root, name) || is_within(name, root))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_above_at_or_below_lxds_datasets_is_shared() {
        let roots = ["tank/lxd".to_owned()];
        let shared = |section: &str| {
            let conf = format!(
                "# sanoid\n[template_production]\nhourly = 36\n\n[{section}]\nuse_template = production\n"
            );
            shared(&conf, &roots).map(str::to_owned)
        };
        for section in ["tank", "tank/lxd", "tank/lxd/containers/web"] {
            assert_eq!(shared(section).as_deref(), Some(section));
        }
        for section in ["tank/home", "tank/lxd-old", "rpool"] {
            assert_eq!(shared(section), None);
        }
    }
}
