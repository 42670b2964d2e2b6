//! Consent: nothing that exists is replaced or destroyed before somebody agreed to exactly that.

use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::signal::{Interrupt, interrupted};

/// What is about to happen, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Question {
    /// What will be done and what follows from it.
    pub(crate) text: String,
    /// Something will be gone for good: a mere `y` will not do.
    pub(crate) destroys: bool,
}

/// Refuses where nobody could be asked.
///
/// # Errors
/// [`Exit::Refused`].
pub(crate) fn refuse_unattended(console: &Console) -> Result<(), Failure> {
    if console.can_ask() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "this needs a confirmation, and there is no terminal to ask on; nothing was changed",
    )
    .with_help("look at it with --dry-run, then give --yes"))
}

/// Asks.
///
/// # Errors
/// [`Exit::Refused`] if the answer is not yes, [`Exit::Interrupted`].
pub(crate) async fn ask(
    question: &Question,
    console: &Console,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    console.tell(&question.text);
    let (prompt, accepted): (_, &[&str]) = if question.destroys {
        ("This cannot be undone. Type yes to go on:", &["yes"])
    } else {
        ("Go on? [y/N]", &["y", "yes"])
    };
    let answer = interrupt.or(async { Ok::<_, Failure>(console.ask(prompt).await) });
    let answer = answer.await.inspect_err(|_| console.tell(""))?;
    if interrupt.is_raised() {
        return Err(interrupted());
    }
    if accepted.contains(&answer.to_lowercase().as_str()) {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Refused,
            "not confirmed; nothing was changed",
        ))
    }
}
