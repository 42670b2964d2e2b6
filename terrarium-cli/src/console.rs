//! The only way out: standard output for answers, standard error for everything else, standard input for consent.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::render::{colour, escape_controls};

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
    /// Nothing is told but failures and warnings.
    pub(crate) quiet: bool,
    /// Whether answers, and what is told, go to a terminal that shows colours.
    colours: Colours,
}

/// How much a process says of its own accord.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Answers are JSON.
    pub(crate) json: bool,
    /// Every step is shown.
    pub(crate) verbose: bool,
    /// Nothing is told but failures and warnings.
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Colours {
    out: bool,
    err: bool,
}

impl Console {
    /// The process's own streams. Questions are asked only where somebody sees them and can answer.
    pub(crate) fn of_the_process(manner: Manner) -> Self {
        let terminal = io::stderr().is_terminal();
        let input = (terminal && io::stdin().is_terminal()).then(|| {
            let stdin: Input = Arc::new(Mutex::new(BufReader::new(io::stdin())));
            stdin
        });
        let wanted = colour::is_wanted();
        Self {
            out: Mutex::new(Box::new(io::stdout())),
            err: Mutex::new(Box::new(io::stderr())),
            input,
            json: manner.json,
            verbose: manner.verbose,
            watched: terminal && !manner.quiet,
            quiet: manner.quiet,
            colours: Colours {
                out: wanted && !manner.json && io::stdout().is_terminal(),
                err: wanted && terminal,
            },
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
            quiet: false,
            colours: Colours::default(),
        }
    }

    /// Writes text to standard output.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be written. A reader that has gone away is no failure: it has read enough.
    pub(crate) fn answer(&self, text: &str) -> Result<(), Failure> {
        let text = colour::paint(&escape_controls(text), self.colours.out);
        self.answer_bytes(text.as_bytes()).map(drop)
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
        let text = colour::paint(&escape_controls(text), self.colours.err);
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(err, "{text}");
    }

    /// Tells a person something that may be left out.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet {
            self.tell(text);
        }
    }

    /// Shows how far something is: on a terminal in one line, which the next one takes the place of.
    pub(crate) fn status(&self, text: &str) {
        if !self.watched {
            return self.remark(text);
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
