//! What is told while a plan is carried out, and how it is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use terrarium_core::plan::{Plan, Purpose, Step};
use terrarium_core::{Error, Outcome, Progress};
use terrarium_s3::pipeline;

use crate::console::Console;
use crate::render::{capitalised, one_line, units};
use crate::signal::Interrupt;

/// Shows each step to whoever watches, and stops before the next one after a signal.
pub(crate) struct Steps<'a> {
    pub(crate) console: &'a Console,
    pub(crate) interrupt: &'a Interrupt,
}

impl Progress for Steps<'_> {
    fn step_begins(&self, index: usize, plan: &Plan, step: &Step) -> Result<(), Error> {
        // A recovery is never stopped: what it has begun would only have to be recovered again.
        if plan.purpose == Purpose::Request && self.interrupt.is_raised() {
            return Err(Error::Interrupted);
        }
        #[cfg(feature = "fault-injection")]
        crate::fault::before(step, self.console);
        if self.console.watched {
            if index == 0 {
                self.console
                    .tell(&format!("{}:", capitalised(&one_line(&plan.title))));
            }
            let count = plan.steps.len();
            let width = count.to_string().len();
            let action = one_line(&step.action.to_string());
            self.console
                .tell(&format!("  {:>width$}/{count}  {action}", index + 1));
        }
        Ok(())
    }

    fn step_ended(&self, _: usize, _: &Plan, outcome: &Outcome) {
        if let (true, Outcome::Failed { reason }) = (self.console.watched, outcome) {
            self.console
                .tell(&format!("  failed: {}", one_line(reason)));
        }
    }
}

/// A stream on its way: on a terminal one line that is written over, elsewhere a line now and then.
pub(crate) struct Transfer<'a> {
    console: &'a Console,
    done: &'static str,
    total: Option<u64>,
    progress: Arc<pipeline::Progress>,
}

impl<'a> Transfer<'a> {
    /// About so many bytes of stream will be `done`, if that is known.
    pub(crate) fn begin(console: &'a Console, done: &'static str, total: Option<u64>) -> Self {
        Self {
            console,
            done,
            total,
            progress: Arc::default(),
        }
    }

    /// What the pipeline tells how far it is.
    pub(crate) fn progress(&self) -> Arc<pipeline::Progress> {
        Arc::clone(&self.progress)
    }

    /// Waits for the work, and shows meanwhile how far it is.
    pub(crate) async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let interval = match self.console.watched {
            true => Duration::from_millis(500),
            false => Duration::from_secs(60),
        };
        let mut work = std::pin::pin!(work);
        let done = loop {
            match tokio::time::timeout(interval, &mut work).await {
                Ok(done) => break done,
                Err(_) => self.console.status(&self.line(began.elapsed())),
            }
        };
        self.console.clear_status();
        done
    }

    fn line(&self, elapsed: Duration) -> String {
        let bytes = self.progress.stream_bytes();
        let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
        let total = self.total.map(|total| total.max(bytes));
        let of = total.map_or(String::new(), |total| {
            format!(" of about {}", units::size(total))
        });
        let (done, rate_shown) = (units::size(bytes), units::size(rate as u64));
        let mut line = format!("{} {done}{of}, {rate_shown}/s", self.done);
        if let Some(total) = total.filter(|&total| rate >= 1.0 && total > bytes) {
            let left = ((total - bytes) as f64 / rate).min(1e9);
            let left = SignedDuration::from_secs_f64(left);
            line.push_str(&format!(", {} left", units::span(left)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_tells_its_rate_and_the_time_that_is_left() {
        let console = Console::of(std::io::sink(), std::io::sink(), None);
        let transfer = Transfer::begin(&console, "fetched", Some(10 << 20));
        assert_eq!(
            transfer.line(Duration::ZERO),
            "fetched 0 B of about 10.0 MiB, 0 B/s"
        );
    }
}
