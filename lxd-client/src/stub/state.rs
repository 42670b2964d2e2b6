//! The stub starts and stops instances.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::instances::find;
use super::operations::{Outcome, done};
use super::server::{Answer, Ask, Lxd, refuse};
use super::world::{FROZEN, RUNNING, STOPPED, mark_started, set_status};

pub(super) fn change(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    find(lxd, ask, name)?;
    let force = ask.flag("force");
    // As in LXD: no time at all means force, less than none means for ever.
    let seconds = ask
        .body
        .get("timeout")
        .and_then(Value::as_i64)
        .unwrap_or(-1);
    let grace = match seconds {
        0 => Some(Duration::ZERO),
        _ if force => Some(Duration::ZERO),
        limited if limited > 0 => Some(Duration::from_secs(limited.unsigned_abs())),
        _ => None,
    };
    let (this, project, name) = (lxd.clone(), ask.project().to_owned(), name.to_owned());
    match ask.text("action") {
        "start" => lxd.begin(ask, "Starting instance", async move {
            this.start(&project, &name)
        }),
        "stop" => lxd.begin(ask, "Stopping instance", async move {
            this.stop(&project, &name, grace).await
        }),
        "restart" => lxd.begin(ask, "Restarting instance", async move {
            this.stop(&project, &name, grace).await?;
            this.start(&project, &name)
        }),
        "freeze" => lxd.begin(ask, "Freezing instance", async move {
            this.switch(
                &project,
                &name,
                RUNNING,
                FROZEN,
                "The container is not running",
            )
        }),
        "unfreeze" => lxd.begin(ask, "Unfreezing instance", async move {
            this.switch(
                &project,
                &name,
                FROZEN,
                RUNNING,
                "The container is already running",
            )
        }),
        other => refuse(400, format!("Unknown action: '{other}'")),
    }
}

impl Lxd {
    fn status(&self, project: &str, name: &str) -> i64 {
        let world = self.world();
        world
            .guest(project, name)
            .map_or(STOPPED, |instance| instance.status_code)
    }

    pub(super) fn start(&self, project: &str, name: &str) -> Outcome {
        if self.status(project, name) != STOPPED {
            return Err("The instance is already running".to_owned());
        }
        self.storage.start(project, name)?;
        if let Some(instance) = self.world().guest_mut(project, name) {
            set_status(instance, RUNNING);
            mark_started(instance);
        }
        self.changed();
        done()
    }

    /// Stops an instance: at once without grace, else as soon as it heeds the request, for ever if grace is none.
    async fn stop(&self, project: &str, name: &str, grace: Option<Duration>) -> Outcome {
        match self.status(project, name) {
            STOPPED => return Err("The instance is already stopped".to_owned()),
            // A frozen one cannot hear the request.
            FROZEN if grace != Some(Duration::ZERO) => {
                _ = self.switch(project, name, FROZEN, RUNNING, "");
            }
            _ => {}
        }
        if grace != Some(Duration::ZERO) && !self.heeds(project, name, grace).await {
            return Err("Failed shutting down instance, status is \"Running\": \
                        shutting down the container failed"
                .to_owned());
        }
        // Somebody used force in the meantime.
        if self.status(project, name) == STOPPED {
            return done();
        }
        let unmounted = self.storage.stop(project, name);
        let ephemeral = {
            let mut world = self.world();
            let Some(instance) = world.guest_mut(project, name) else {
                return done();
            };
            set_status(instance, STOPPED);
            let power = "volatile.last_state.power".to_owned();
            instance.config.insert(power, "STOPPED".to_owned());
            instance.ephemeral
        };
        self.changed();
        unmounted?;
        if ephemeral {
            self.remove(project, name)?;
        }
        done()
    }

    /// Whether an instance shuts down, or is stopped by force, before its time is up.
    async fn heeds(&self, project: &str, name: &str, grace: Option<Duration>) -> bool {
        let for_ever = Duration::from_secs(1_500_000_000);
        let deadline = Instant::now() + grace.unwrap_or(for_ever);
        let mut changes = self.watch();
        loop {
            let stubborn = self.world().stubborn.contains(name);
            if !stubborn || self.status(project, name) == STOPPED {
                return true;
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return false;
            }
        }
    }

    fn switch(&self, project: &str, name: &str, from: i64, to: i64, problem: &str) -> Outcome {
        if let Some(instance) = self.world().guest_mut(project, name) {
            if instance.status_code != from {
                return Err(problem.to_owned());
            }
            set_status(instance, to);
        }
        self.changed();
        done()
    }
}
