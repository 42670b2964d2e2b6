//! Commands in instances around a snapshot: before it, so that what is on disk makes sense; after it, so that they go on.
//!
//! Whoever was told to freeze is told to go on, whatever happens: before the first command is run it is written down that
//! the second one is owed. The note is removed when that has been run; what a killed process has left is made good by the
//! next run, or by the next snapshot of that instance.

mod around;

use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::Host;
use crate::error::Error;
use crate::hook_run::{Hook, HookOutcome, HookRun};
use crate::instances::{CommandOutput, InstanceState, Instances, InstancesError};
use crate::lock::Lock;
use crate::names::InstanceRef;
use crate::plan::Hooked;
use crate::point::PreOutcome;
use crate::policy::{Hooks, PreFailure};
use crate::report::with_causes;
use crate::zfs::Zfs;

/// How many instances run a command at the same time.
const AT_ONCE: usize = 8;
/// How much longer than its command LXD is waited for: the guest ends it by itself.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it is waited before a command whose fate is not known is run once more.
const ONCE_MORE: Duration = Duration::from_secs(1);
/// How much of what a command wrote is told, in characters.
const EXCERPT: usize = 160;

/// Runs `$2` for at most `$1` seconds: LXD cannot end a command, so the guest does, with all that it has started.
const SCRIPT: &str = r#"command -v setsid >/dev/null 2>&1 || exec sh -c "$2"
setsid sh -c "$2" & it=$!
setsid sh -c 'sleep "$1"; kill -TERM "-$2"; sleep 5; kill -KILL "-$2"' terrarium "$1" "$it" >/dev/null 2>&1 & limit=$!
wait "$it"; code=$?
kill -TERM "-$limit" 2>/dev/null
exit "$code""#;

/// The command that an instance is owed.
#[derive(Debug, Serialize, Deserialize)]
struct Owed {
    instance: InstanceRef,
    command: String,
    timeout_seconds: u64,
    since: Timestamp,
}

/// Instances whose first command was run, and whose second one is yet to be.
#[derive(Debug, Default)]
pub(super) struct Entered {
    inside: Vec<Inside>,
    /// What was run until now.
    pub(super) runs: Vec<HookRun>,
}

#[derive(Debug)]
struct Inside {
    instance: InstanceRef,
    post: Option<(String, Duration)>,
    /// Nobody else runs commands in it until the second one was run.
    _lock: Lock,
}

impl Entered {
    /// Whether there must be no snapshot of an instance.
    pub(super) fn skips(&self, id: &InstanceRef) -> bool {
        self.runs.iter().any(|run| run.skips && run.instance == *id)
    }

    /// What a snapshot of an instance says about the command before it.
    pub(super) fn mark(&self, id: &InstanceRef) -> Option<PreOutcome> {
        let before = |run: &&HookRun| run.hook == Hook::Pre && run.instance == *id;
        self.runs.iter().find(before).and_then(HookRun::mark)
    }
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Runs the commands before snapshots. Every one of them is followed by [`Host::leave`].
    pub(super) async fn enter(&self, hooks: &[Hooked], now: Timestamp) -> Entered {
        let mut entered = Entered::default();
        let each = hooks.iter().map(|one| self.enter_one(one, now));
        for (mut runs, inside) in all_of(each).await {
            entered.runs.append(&mut runs);
            entered.inside.extend(inside);
        }
        entered
    }

    /// Runs the commands after snapshots, whatever became of those.
    pub(super) async fn leave(&self, entered: Entered) -> Vec<HookRun> {
        let each = entered.inside.iter().filter_map(|inside| {
            let (command, limit) = inside.post.as_ref()?;
            Some(self.run_post(&inside.instance, command, *limit))
        });
        all_of(each).await
    }

    /// Runs what is owed to instances that nobody is taking a snapshot of: whoever was to do it was killed.
    pub(super) async fn make_good(&self, now: Timestamp) -> Vec<Result<HookRun, Error>> {
        let folder = self.hooks_folder();
        let failed = |source| Error::File {
            path: folder.clone(),
            source,
        };
        let files: Result<Vec<_>, _> = match std::fs::read_dir(&folder) {
            Ok(files) => files.map(|file| file.map(|file| file.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => Err(error),
        };
        let files = match files {
            Ok(files) => files,
            Err(error) => return vec![Err(failed(error))],
        };
        let notes = files.into_iter().filter(|path| is_note(path));
        let each = notes.map(async |path| match read_note(&path) {
            Ok(Some(owed)) => {
                // Held: whoever is to run it is alive.
                let _lock = self.locks.hooks(&owed.instance, now).ok()?;
                // It may have been run since.
                let owed = read_note(&path).ok()??;
                Some(Ok(self.run_owed(&owed).await))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        });
        all_of(each).await.into_iter().flatten().collect()
    }

    async fn enter_one(&self, one: &Hooked, now: Timestamp) -> (Vec<HookRun>, Option<Inside>) {
        let (id, hooks) = (&one.instance, &one.hooks);
        let mut runs = Vec::new();
        let not_begun = |why: &Error| {
            let outcome = HookOutcome::NotRun {
                why: with_causes(why),
            };
            let hook = hooks.pre.as_ref().map_or(Hook::Post, |_| Hook::Pre);
            let mut run = HookRun::new(id, hook, outcome);
            run.skips = hook == Hook::Pre && hooks.pre_failure == PreFailure::Skip;
            run
        };
        let lock = match self.locks.hooks(id, now) {
            Ok(lock) => lock,
            Err(error) => return (vec![not_begun(&error)], None),
        };
        match read_note(&self.note_of(id)) {
            Ok(Some(owed)) => runs.push(self.run_owed(&owed).await),
            Ok(None) => {}
            Err(error) => return (vec![not_begun(&error)], None),
        }
        if let Err(error) = self.note(id, hooks, now) {
            runs.push(not_begun(&error));
            return (runs, None);
        }
        if let Some(command) = &hooks.pre {
            let outcome = self.run_hook(id, command, hooks.timeout).await;
            let mut run = HookRun::new(id, Hook::Pre, outcome);
            run.skips = hooks.pre_failure == PreFailure::Skip
                && run.mark().is_some_and(|mark| mark != PreOutcome::Done);
            runs.push(run);
        }
        let post = hooks.post.clone().map(|command| (command, hooks.timeout));
        let inside = Inside {
            instance: id.clone(),
            post,
            _lock: lock,
        };
        (runs, Some(inside))
    }

    /// Writes down that the second command is owed.
    fn note(&self, id: &InstanceRef, hooks: &Hooks, now: Timestamp) -> Result<(), Error> {
        let Some(post) = &hooks.post else {
            return Ok(());
        };
        let owed = Owed {
            instance: id.clone(),
            command: post.clone(),
            timeout_seconds: hooks.timeout.as_secs(),
            since: now,
        };
        let path = self.note_of(id);
        let written = serde_json::to_vec_pretty(&owed).map_err(Into::into);
        let written = written
            .and_then(|text| crate::details::write_in_full(&self.hooks_folder(), &path, &text));
        written.map_err(|source| Error::File { path, source })
    }

    async fn run_owed(&self, owed: &Owed) -> HookRun {
        let limit = Duration::from_secs(owed.timeout_seconds);
        let mut run = self.run_post(&owed.instance, &owed.command, limit).await;
        run.overdue = true;
        run
    }

    /// Runs a second command. It stays owed as long as it cannot be run.
    async fn run_post(&self, id: &InstanceRef, command: &str, limit: Duration) -> HookRun {
        let mut outcome = self.run_hook(id, command, limit).await;
        if let HookOutcome::Lost { .. } = outcome {
            tokio::time::sleep(ONCE_MORE).await;
            outcome = self.run_hook(id, command, limit).await;
        }
        if !matches!(outcome, HookOutcome::Lost { .. }) {
            let path = self.note_of(id);
            if let Err(error) = std::fs::remove_file(&path) {
                // At worst it is run once more.
                tracing::warn!(path = %path.display(), %error, "a note stays");
            }
        }
        HookRun::new(id, Hook::Post, outcome)
    }

    async fn run_hook(&self, id: &InstanceRef, command: &str, limit: Duration) -> HookOutcome {
        let seconds = limit.as_secs().to_string();
        let words = ["sh", "-c", SCRIPT, "terrarium", &seconds, command];
        let words = words.map(str::to_owned);
        let since = Instant::now();
        let timed_out = || HookOutcome::TimedOut {
            limit_seconds: limit.as_secs(),
        };
        match self.instances.exec(id, &words, limit + PATIENCE).await {
            Ok(output) if output.exit_code == 0 => HookOutcome::Done,
            // What the signals that end it make of it.
            Ok(output) if matches!(output.exit_code, 137 | 143) && since.elapsed() >= limit => {
                timed_out()
            }
            Ok(output) => HookOutcome::Failed { why: told(&output) },
            Err(InstancesError::CommandTimedOut { .. }) => timed_out(),
            Err(error) => match self.instances.get(id).await {
                Ok(Some(record)) if record.state != InstanceState::Stopped => HookOutcome::Lost {
                    why: with_causes(&error),
                },
                Ok(_) => HookOutcome::NotNeeded,
                Err(_) => HookOutcome::Lost {
                    why: with_causes(&error),
                },
            },
        }
    }

    fn hooks_folder(&self) -> PathBuf {
        self.state.join("hooks")
    }

    fn note_of(&self, id: &InstanceRef) -> PathBuf {
        let file = format!("{}.{}.json", id.project, id.name);
        self.hooks_folder().join(file)
    }
}

fn is_note(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}

fn read_note(path: &Path) -> Result<Option<Owed>, Error> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| failed(error.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The exit code, and the last line of what was written, made harmless and short.
fn told(output: &CommandOutput) -> String {
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())?;
        let short: String = line.chars().take(EXCERPT).collect();
        let cut = short.len() < line.len();
        let harmless = short.replace(|c: char| c.is_control(), "?");
        Some(format!(": {harmless}{}", if cut { "…" } else { "" }))
    };
    let excerpt = last(&output.stderr).or_else(|| last(&output.stdout));
    format!(
        "exit code {}{}",
        output.exit_code,
        excerpt.unwrap_or_default()
    )
}

/// What comes of all of these; so many of them are on their way at a time.
async fn all_of<T, F: Future<Output = T> + Send>(futures: impl Iterator<Item = F>) -> Vec<T> {
    let seats = Semaphore::new(AT_ONCE);
    let seated = |future: F| {
        let seats = &seats;
        let with_a_seat: Pin<Box<dyn Future<Output = T> + Send + '_>> = Box::pin(async move {
            let _seat = seats.acquire().await;
            future.await
        });
        (None, with_a_seat)
    };
    let mut all: Vec<(Option<T>, _)> = futures.map(seated).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for (done, future) in all.iter_mut().filter(|(done, _)| done.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(value) => *done = Some(value),
                Poll::Pending => is_pending = true,
            }
        }
        match is_pending {
            true => Poll::Pending,
            false => Poll::Ready(all.iter_mut().filter_map(|(done, _)| done.take()).collect()),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn so_many_are_on_their_way_at_a_time_and_all_come_to_their_end() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let each = (0..50).map(async |number| {
            let others = now.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(others + 1, Ordering::SeqCst);
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            number
        });
        assert!(all_of(each).await.into_iter().eq(0..50));
        assert_eq!(most.into_inner(), AT_ONCE);
    }

    #[test]
    fn the_script_ends_a_command_with_all_that_it_has_started() {
        let ran = |limit: &str, command: &str| {
            let since = Instant::now();
            let words = ["-c", SCRIPT, "terrarium", limit, command];
            let output = Command::new("sh").args(words).output().unwrap();
            (output, since.elapsed())
        };
        let (output, took) = ran("20", "echo said; exit 4");
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(4), &b"said\n"[..])
        );
        assert!(took < Duration::from_secs(10), "{took:?}");
        let started = "sleep 4711 & echo $!; wait";
        let (output, took) = ran("1", started);
        assert_eq!(output.status.code(), Some(143));
        assert!(took >= Duration::from_secs(1), "{took:?}");
        let child = String::from_utf8(output.stdout).unwrap();
        let gone = || std::fs::read_to_string(format!("/proc/{}/cmdline", child.trim()));
        let waited = Cell::new(0);
        while gone().is_ok_and(|line| line.contains("4711")) {
            assert!(waited.replace(waited.get() + 1) < 100, "{child} goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn what_a_command_wrote_is_told_short_and_harmless() {
        let output = CommandOutput {
            exit_code: 1,
            stdout: b"not this".to_vec(),
            stderr: format!("first\n\x1b[31m{}\n \n", "é".repeat(200)).into_bytes(),
        };
        let told = told(&output);
        assert!(told.starts_with("exit code 1: ?[31mé"), "{told}");
        assert!(told.ends_with('…') && !told.contains("first"), "{told}");
        assert!(told.chars().count() < 180, "{told}");
    }
}
