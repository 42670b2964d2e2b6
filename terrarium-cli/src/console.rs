//! The only way out: standard output for answers, standard error for everything else, standard input for consent.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::render::escape_controls;

/// Where answers to questions come from.
pub(crate) type Input = Arc<Mutex<dyn BufRead + Send>>;

/// Where answers go.
pub(crate) struct Console {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    input: Option<Input>,
    /// Answers are JSON.
    pub(crate) json: bool,
    /// Every step is shown.
    pub(crate) verbose: bool,
    /// Somebody watches: steps are shown as they begin.
    pub(crate) watched: bool,
}

impl Console {
    /// The process's own streams. Questions are asked only where somebody sees them and can answer.
    pub(crate) fn of_the_process(json: bool, verbose: bool) -> Self {
        let watched = io::stderr().is_terminal();
        let input = (watched && io::stdin().is_terminal()).then(|| {
            let stdin: Input = Arc::new(Mutex::new(BufReader::new(io::stdin())));
            stdin
        });
        Self {
            out: Mutex::new(Box::new(io::stdout())),
            err: Mutex::new(Box::new(io::stderr())),
            input,
            json,
            verbose,
            watched,
        }
    }

    /// Any streams.
    #[cfg(test)]
    pub(crate) fn of(
        out: impl Write + Send + 'static,
        err: impl Write + Send + 'static,
        input: Option<Input>,
    ) -> Self {
        Self {
            out: Mutex::new(Box::new(out)),
            err: Mutex::new(Box::new(err)),
            watched: input.is_some(),
            input,
            json: false,
            verbose: false,
        }
    }

    /// Writes text to standard output.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be written. A reader that has gone away is no failure: it has read enough.
    pub(crate) fn answer(&self, text: &str) -> Result<(), Failure> {
        self.answer_bytes(escape_controls(text).as_bytes())
            .map(drop)
    }

    /// Writes bytes to standard output as they are, and says whether anybody still reads.
    ///
    /// # Errors
    /// As [`Console::answer`].
    pub(crate) fn answer_bytes(&self, bytes: &[u8]) -> Result<bool, Failure> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::new(
                Exit::Failed,
                format!("cannot write to standard output: {error}"),
            )),
        }
    }

    /// Writes a value to standard output as JSON.
    ///
    /// # Errors
    /// As [`Console::answer`].
    pub(crate) fn answer_json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))?;
        self.answer(&(text + "\n"))
    }

    /// Tells a person something. Nothing depends on whether it can be written.
    pub(crate) fn tell(&self, text: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(err, "{}", escape_controls(text));
    }

    /// Shows how far something is: on a terminal in one line, which the next one takes the place of.
    pub(crate) fn status(&self, text: &str) {
        if !self.watched {
            return self.tell(text);
        }
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(err, "\r{}\x1b[K", escape_controls(text));
        let _ = err.flush();
    }

    /// Takes the line away again.
    pub(crate) fn clear_status(&self) {
        if self.watched {
            let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
    }

    /// Whether there is somebody to ask.
    pub(crate) fn can_ask(&self) -> bool {
        self.input.is_some()
    }

    /// Asks, and reads one line. Without anybody to ask, or at the end of the input, the answer is empty.
    pub(crate) async fn ask(&self, question: &str) -> String {
        let Some(input) = self.input.clone() else {
            return String::new();
        };
        {
            let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = write!(err, "{} ", escape_controls(question));
            let _ = err.flush();
        }
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
            match input.read_line(&mut line) {
                Ok(_) => line.trim().to_owned(),
                Err(_) => String::new(),
            }
        });
        reading.await.unwrap_or_default()
    }
}
