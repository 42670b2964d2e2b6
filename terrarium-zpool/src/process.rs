//! The process behind an engine: started, asked, waited for no longer than agreed, ended.
//!
//! A message is its length (4 bytes, this machine's order) and a packed nvlist. A request has an `id`
//! and an `op`, its answer the same `id` and an `errno`. Requests are answered in any order. While a
//! stream or a tree goes through a descriptor, messages with its `id` and its `progress` come as well.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use terrarium_zfs::nvlist::NvList;

/// How long the process may take to end once it has been told to, or its socket is closed.
const END: Duration = Duration::from_secs(10);
/// What is kept of its last words.
const LAST_WORDS: usize = 4096;
/// The largest answer: a listing of very many snapshots.
const MAX_ANSWER: u32 = 1 << 30;

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// None came in time; the process was killed.
    TimedOut,
    /// The process has ended, and how.
    Ended(String),
    /// The request could not be made.
    Request(terrarium_zfs::Error),
}

/// A running process and the requests that wait for it.
pub(crate) struct Process {
    child: Mutex<Child>,
    requests: Mutex<UnixStream>,
    waiting: Mutex<Waiting>,
    last_words: Mutex<Vec<u8>>,
}

/// Who waits for an answer, by the number of the request.
enum Waiting {
    Running {
        next: u64,
        askers: HashMap<u64, Sender<NvList>>,
    },
    Ended(String),
}

/// A process that ended before it said hello.
#[derive(Debug)]
pub(crate) struct Stillborn {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) last_words: String,
}

impl Process {
    /// Starts the program. Its first message, without a request, is the answer that is returned.
    pub(crate) fn start(
        program: &Path,
        limit: Duration,
    ) -> io::Result<Result<(Arc<Self>, NvList), Stillborn>> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(program)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What a terminal sends to the caller is the caller's to act upon.
            .process_group(0)
            .spawn()?;
        let stderr = child.stderr.take();
        let (hello, greeting) = mpsc::channel();
        let process = Arc::new(Self {
            child: Mutex::new(child),
            requests: Mutex::new(ours.try_clone()?),
            waiting: Mutex::new(Waiting::Running {
                next: 1,
                askers: HashMap::from([(0, hello)]),
            }),
            last_words: Mutex::new(Vec::new()),
        });
        // A request is small or is read at once; one that is not means that the process hangs.
        ours.set_write_timeout(Some(limit))?;
        let listener = Arc::clone(&process);
        let words = stderr.map(|stderr| {
            let listener = Arc::clone(&process);
            std::thread::spawn(move || listener.keep_last_words(stderr))
        });
        std::thread::spawn(move || listener.listen(ours, words));
        match greeting.recv_timeout(limit) {
            Ok(hello) => Ok(Ok((process, hello))),
            Err(_) => {
                process.kill();
                let status = process.end(END);
                let last_words = process.last_words();
                Ok(Err(Stillborn { status, last_words }))
            }
        }
    }

    /// Asks, and waits for the answer; no longer than `limit` without a word that the request gets on.
    pub(crate) fn ask(
        &self,
        op: &str,
        mut request: NvList,
        fd: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<NvList, Silence> {
        let (sender, answer) = mpsc::channel();
        let id = self.register(sender)?;
        let sent = (|| {
            request.add_str("op", op)?;
            request.add_u64("id", id)?;
            request.pack()
        })()
        .map_err(Silence::Request)
        .and_then(|packed| self.send(&packed, fd));
        if let Err(silence) = sent {
            self.forget(id);
            return Err(silence);
        }
        loop {
            match answer.recv_timeout(limit) {
                Ok(word) if is_progress(&word) => {}
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {
                    self.forget(id);
                    self.kill();
                    return Err(Silence::TimedOut);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Silence::Ended(self.how_it_ended()));
                }
            }
        }
    }

    /// Whether the process is known to have ended.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*lock(&self.waiting), Waiting::Ended(_))
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Ends the connection; the process then closes the pool and ends, or is killed.
    pub(crate) fn hang_up(&self, limit: Duration) {
        // Fails if it has ended: nothing is left to do then.
        _ = lock(&self.requests).shutdown(Shutdown::Write);
        let until = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !self.has_ended() {
            self.kill();
        }
    }

    fn register(&self, sender: Sender<NvList>) -> Result<u64, Silence> {
        match &mut *lock(&self.waiting) {
            Waiting::Running { next, askers } => {
                let id = *next;
                *next += 1;
                askers.insert(id, sender);
                Ok(id)
            }
            Waiting::Ended(how) => Err(Silence::Ended(how.clone())),
        }
    }

    fn forget(&self, id: u64) {
        if let Waiting::Running { askers, .. } = &mut *lock(&self.waiting) {
            askers.remove(&id);
        }
    }

    fn send(&self, packed: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Silence> {
        let write = || -> io::Result<()> {
            let length = u32::try_from(packed.len())
                .map_err(|_| io::ErrorKind::InvalidInput)?
                .to_ne_bytes();
            let mut requests = lock(&self.requests);
            let fds = fd.map(|fd| [fd.as_raw_fd()]);
            let control = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
            let sent = sendmsg::<()>(
                requests.as_raw_fd(),
                &[IoSlice::new(&length)],
                control.as_slice(),
                MsgFlags::MSG_NOSIGNAL,
                None,
            )?;
            // The descriptor went with the first byte.
            requests.write_all(&length[sent..])?;
            requests.write_all(packed)
        };
        match write() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.kill();
                Err(Silence::TimedOut)
            }
            // A broken pipe: how it ended is known once the listener has seen the end.
            Err(_) => Err(Silence::Ended(self.how_it_ended())),
        }
    }

    fn kill(&self) {
        // Fails if it has ended already.
        _ = lock(&self.child).kill();
    }

    /// Passes answers on until there is no more to come; then tells everyone how the process ended.
    fn listen(&self, mut answers: UnixStream, words: Option<JoinHandle<()>>) {
        while let Some(answer) = read_answer(&mut answers) {
            let id = answer.value("id").and_then(|id| id.integer());
            let id = id.and_then(|id| u64::try_from(id).ok());
            if let Waiting::Running { askers, .. } = &mut *lock(&self.waiting)
                && let Some(id) = id
                && let Some(asker) = askers.get(&id)
            {
                let is_last = !is_progress(&answer);
                // One that has given up has removed itself, or is about to.
                _ = asker.send(answer);
                if is_last {
                    askers.remove(&id);
                }
            }
        }
        let status = self.end(END);
        if let Some(words) = words {
            _ = words.join();
        }
        *lock(&self.waiting) = Waiting::Ended(describe(status, &self.last_words()));
    }

    /// Waits for the process, and kills it if it takes too long.
    fn end(&self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            match lock(&self.child).try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => {}
                Ok(None) => break,
                Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut child = lock(&self.child);
        _ = child.kill();
        child.wait().ok()
    }

    fn how_it_ended(&self) -> String {
        let until = Instant::now() + END + END;
        loop {
            if let Waiting::Ended(how) = &*lock(&self.waiting) {
                return how.clone();
            }
            if Instant::now() > until {
                return "it does not answer".to_owned();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn keep_last_words(&self, mut stderr: impl Read) {
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut piece) {
            let mut words = lock(&self.last_words);
            words.extend_from_slice(&piece[..length]);
            let surplus = words.len().saturating_sub(LAST_WORDS);
            words.drain(..surplus);
        }
    }

    fn last_words(&self) -> String {
        let words = lock(&self.last_words);
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}

/// Whether a message says no more than that a request gets on.
fn is_progress(message: &NvList) -> bool {
    message.value("progress").is_some()
}

fn read_answer(from: &mut impl Read) -> Option<NvList> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = u32::from_ne_bytes(length);
    if length > MAX_ANSWER {
        return None;
    }
    let mut packed = vec![0; length.try_into().ok()?];
    from.read_exact(&mut packed).ok()?;
    NvList::unpack(&packed).ok()
}

/// What the status says, and the first of the last words that is no mere warning: an assertion's text.
fn describe(status: Option<ExitStatus>, last_words: &str) -> String {
    let how = match status {
        Some(status) => match (status.signal(), status.code()) {
            (Some(libc::SIGABRT), _) => "it aborted".to_owned(),
            (Some(libc::SIGKILL), _) => "it was killed".to_owned(),
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        },
        None => "unknown how".to_owned(),
    };
    let mut lines = last_words.lines();
    match lines.find(|line| !line.starts_with("WARNING: ")) {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}

/// No state is left half-changed by a panic here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
