//! Progress to Python, and signals from it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use terrarium_core::plan::{Plan, Purpose, Step};
use terrarium_core::{Error, Progress};

/// How often it is looked for signals.
const LOOK: Duration = Duration::from_millis(50);

/// Tells each step, and stops before the next one when something was raised.
pub(crate) struct Watch {
    progress: Option<Py<PyAny>>,
    raised: Mutex<Option<PyErr>>,
}

impl Watch {
    pub(crate) fn new(progress: Option<Py<PyAny>>) -> Self {
        Self {
            progress,
            raised: Mutex::new(None),
        }
    }

    /// What was raised meanwhile.
    pub(crate) fn raised(&self) -> Option<PyErr> {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.take()
    }

    /// Works, and looks for signals beside it.
    pub(crate) async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(LOOK) => self.note(Python::attach(|py| py.check_signals())),
            }
        }
    }

    fn note(&self, outcome: PyResult<()>) {
        if let Err(error) = outcome {
            let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
            raised.get_or_insert(error);
        }
    }

    fn is_raised(&self) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.is_some()
    }
}

impl Progress for Watch {
    fn step_begins(&self, index: usize, plan: &Plan, step: &Step) -> Result<(), Error> {
        self.note(Python::attach(|py| py.check_signals()));
        if let Some(progress) = &self.progress {
            let told = (index + 1, plan.steps.len(), step.action.to_string());
            self.note(Python::attach(|py| progress.call1(py, told).map(drop)));
        }
        // A recovery is never stopped: what it has begun would only have to be recovered again.
        if plan.purpose == Purpose::Request && self.is_raised() {
            return Err(Error::Interrupted);
        }
        Ok(())
    }
}
