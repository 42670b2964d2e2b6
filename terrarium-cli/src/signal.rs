//! Ctrl-C and SIGTERM: the step under way is finished, then everything is put back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::console::Console;
use crate::exit::{Exit, Failure};

/// Whether a signal came. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    raised: AtomicBool,
    /// By SIGTERM, which nobody else of our group has got.
    terminated: AtomicBool,
    working: AtomicBool,
    wake: Notify,
}

impl Interrupt {
    /// Whether a signal came.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// From now on there is something to put back.
    pub(crate) fn work_begins(&self) {
        self.0.working.store(true, Ordering::SeqCst);
    }

    /// Carries out what changes nothing, and gives it up when a signal comes.
    ///
    /// # Errors
    /// [`Failure`] of `work`, or [`Exit::Interrupted`].
    pub(crate) async fn or<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.wait() => Err(interrupted()),
            done = work => done.map_err(Into::into),
        }
    }

    pub(crate) fn raise(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.wake.notify_waiters();
    }

    /// Until a SIGTERM comes.
    pub(crate) async fn terminated(&self) {
        loop {
            let woken = self.0.wake.notified();
            if self.0.terminated.load(Ordering::SeqCst) {
                return;
            }
            woken.await;
        }
    }

    /// Until a signal comes.
    pub(crate) async fn wait(&self) {
        let woken = self.0.wake.notified();
        if !self.is_raised() {
            woken.await;
        }
    }
}

/// A signal came before anything was changed.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted; nothing was changed")
}

/// Listens to SIGINT and SIGTERM from now on. If that is not possible, they end the process as ever: what it
/// leaves behind then is recovered by the next run.
pub(crate) fn watch(interrupt: &Interrupt, console: &Arc<Console>) {
    let (Ok(int), Ok(term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::spawn(listen(int, term, interrupt.clone(), Arc::clone(console)));
}

async fn listen(mut int: Signal, mut term: Signal, interrupt: Interrupt, console: Arc<Console>) {
    loop {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => interrupt.0.terminated.store(true, Ordering::SeqCst),
        }
        let again = interrupt.is_raised();
        interrupt.raise();
        if interrupt.0.working.load(Ordering::SeqCst) {
            console.tell(if again {
                "still putting everything back; please wait"
            } else {
                "interrupted: the step under way is finished, then everything is put back"
            });
        }
    }
}
