//! What LXD's labels say about commands around a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Serialize, Serializer};

use super::{LabelError, Origin, Problem};

/// A command that is run in the instance before a snapshot, by `sh -c`.
pub const PRE: &str = "user.terrarium.pre";
/// A command that is run in the instance after a snapshot, whatever became of it, by `sh -c`.
pub const POST: &str = "user.terrarium.post";
/// How long either of them may take: `30s`, `2m`.
pub const HOOK_TIMEOUT: &str = "user.terrarium.hook-timeout";
/// What happens if the command before a snapshot fails: `skip` or `snapshot`.
pub const PRE_FAILURE: &str = "user.terrarium.pre-failure";

/// How long a command may take that nobody has said anything else about.
const USUAL: Duration = Duration::from_secs(30);
/// The longest that a command may take: others of its group wait for it, frozen perhaps.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// What is done about a failure of the command before a snapshot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreFailure {
    /// There is no snapshot, of the whole group of the instance.
    Skip,
    /// The snapshot is taken all the same, and says so.
    #[default]
    Snapshot,
}

/// The commands around snapshots of an instance. Their text is not shown: it may hold secrets.
#[derive(Clone, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hooks {
    /// Before the snapshot.
    #[serde(serialize_with = "whether")]
    pub pre: Option<String>,
    /// After it.
    #[serde(serialize_with = "whether")]
    pub post: Option<String>,
    /// How long each may take.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub timeout: Duration,
    /// What is done if the first one fails.
    pub pre_failure: PreFailure,
}

fn whether<S: Serializer>(command: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bool(command.is_some())
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(time.as_secs())
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Hooks {
    /// Which labels there are, and what holds for them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.timeout.as_secs();
        match (&self.pre, &self.post) {
            (Some(_), Some(_)) => write!(f, "{PRE} before it and {POST} after it")?,
            (Some(_), None) => write!(f, "{PRE} before it")?,
            (None, _) => write!(f, "{POST} after it")?,
        }
        write!(f, ", at most {seconds}s each")?;
        match (&self.pre, self.pre_failure) {
            (Some(_), PreFailure::Skip) => f.write_str("; no snapshot if the first fails"),
            _ => Ok(()),
        }
    }
}

impl Hooks {
    /// What the config of an instance, with that of its profiles, says; `None` if it names no command. A label that
    /// cannot be understood counts as if it were not there.
    pub fn of(config: &BTreeMap<String, String>) -> (Option<Self>, Vec<Problem>) {
        let command = |key: &str| {
            let text = config.get(key)?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let mut hooks = Self {
            pre: command(PRE),
            post: command(POST),
            timeout: USUAL,
            pre_failure: PreFailure::default(),
        };
        let mut problems = Vec::new();
        let mut heed = |key: &'static str, read: &mut dyn FnMut(&str) -> Result<(), LabelError>| {
            let Some(value) = config.get(key) else { return };
            if let Err(source) = read(value) {
                let value = value.clone();
                let at = Origin::Instance;
                problems.push(Problem {
                    at,
                    key,
                    value,
                    source,
                });
            }
        };
        heed(HOOK_TIMEOUT, &mut |text| {
            hooks.timeout = timeout(text)?;
            Ok(())
        });
        heed(PRE_FAILURE, &mut |text| {
            hooks.pre_failure = match text.trim() {
                "skip" => PreFailure::Skip,
                "snapshot" => PreFailure::Snapshot,
                _ => return Err(LabelError::NotAPreFailure(text.to_owned())),
            };
            Ok(())
        });
        let any = hooks.pre.is_some() || hooks.post.is_some();
        (any.then_some(hooks), problems)
    }
}

fn timeout(text: &str) -> Result<Duration, LabelError> {
    let unreadable = || LabelError::NotATimeout(text.to_owned());
    let text = text.trim();
    let time = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse().map_err(|_| unreadable())?,
    };
    if !(SignedDuration::from_secs(1)..=LONGEST).contains(&time) {
        return Err(unreadable());
    }
    // Half of a second more is no other limit, and `timeout(1)` need not know fractions.
    Ok(Duration::from_secs(time.as_secs().unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(labels: &[(&str, &str)]) -> (Option<Hooks>, Vec<String>) {
        let labels = labels.iter();
        let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (hooks, problems) = Hooks::of(&labels.collect());
        (hooks, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_a_command_there_is_nothing_to_run() {
        assert_eq!(hooks(&[]), (None, Vec::new()));
        assert_eq!(hooks(&[(PRE, " "), (HOOK_TIMEOUT, "5s")]), (None, vec![]));
    }

    #[test]
    fn a_command_has_half_a_minute_and_its_failure_leaves_no_hole_unless_told_otherwise() {
        let found = hooks(&[(PRE, "sync-db")]).0.unwrap();
        assert_eq!(
            (found.timeout.as_secs(), found.pre_failure),
            (30, PreFailure::Snapshot)
        );
        for (text, seconds) in [("2m", 120), ("45", 45), (" 5s ", 5), ("1h", 3600)] {
            let found = hooks(&[(POST, "x"), (HOOK_TIMEOUT, text), (PRE_FAILURE, "skip")]);
            let (found, problems) = (found.0.unwrap(), found.1);
            assert_eq!(
                (found.timeout.as_secs(), found.pre_failure),
                (seconds, PreFailure::Skip)
            );
            assert!(problems.is_empty());
        }
    }

    #[test]
    fn what_makes_no_sense_is_named_and_the_default_holds() {
        for text in [
            "",
            "soon",
            "0s",
            "-5s",
            "2h",
            "61m",
            "99999999999",
            "1 month",
        ] {
            let (found, problems) = hooks(&[(PRE, "x"), (HOOK_TIMEOUT, text)]);
            assert_eq!(found.unwrap().timeout, USUAL, "{text}");
            assert!(problems[0].contains("from 1s to 1h"), "{problems:?}");
        }
        let (found, problems) = hooks(&[(PRE, "x"), (PRE_FAILURE, "ignore")]);
        assert_eq!(found.unwrap().pre_failure, PreFailure::Snapshot);
        assert_eq!(
            problems,
            [
                "the instance's label user.terrarium.pre-failure=\"ignore\" is not heeded: \"ignore\" is neither skip \
                 nor snapshot"
            ]
        );
    }

    #[test]
    fn the_text_of_a_command_is_not_shown() {
        let (found, _) = hooks(&[(PRE, "mysql -psecret"), (POST, "mysql -psecret")]);
        let found = found.unwrap();
        let json = serde_json::to_string(&found).unwrap();
        for shown in [format!("{found:?}"), found.to_string(), json] {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
