//! What is told while a plan is carried out, and how it is stopped.

use terrarium_core::plan::{Plan, Purpose, Step};
use terrarium_core::{Error, Outcome, Progress};

use crate::console::Console;
use crate::render::{capitalised, one_line};
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
