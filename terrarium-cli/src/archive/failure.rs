//! Exit codes and words of what can go wrong with an archive.

use terrarium_core::export::ExportError;
use terrarium_core::{FetchError, with_causes};
use terrarium_s3::StoreError;
use terrarium_s3::archive::{
    AnnotateError, ArchiveError, ChainError, Difference, LocationError, StateError,
};
use terrarium_s3::crypto::CryptoError;
use terrarium_s3::format::OpenError;
use terrarium_s3::pipeline::{PublishError, ReadError, WriteError};

use terrarium_zfs::SnapshotName;

use crate::exit::{Exit, Failure};

/// What a store's error promises, if nothing was changed before it.
fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Unavailable { .. } => Exit::Unavailable,
        StoreError::Corrupt { .. } | StoreError::NoSpace { .. } => Exit::Failed,
        _ => Exit::Refused,
    }
}

/// What it promises after something may have been stored: that trying again is safe, or nothing.
fn of_store_later(error: &StoreError) -> Exit {
    match error {
        StoreError::Unavailable { .. } => Exit::Unavailable,
        _ => Exit::Failed,
    }
}

fn failure(exit: Exit, error: impl ToString, help: Option<impl Into<String>>) -> Failure {
    Failure {
        help: help.map(Into::into),
        ..Failure::new(exit, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        failure(of_store(&error), &error, error.help())
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let exit = match &error {
            ArchiveError::Store(error) => of_store(error),
            ArchiveError::Random(_) | ArchiveError::Interrupted => Exit::Failed,
            _ => Exit::Refused,
        };
        failure(exit, &error, error.help())
    }
}

impl From<AnnotateError> for Failure {
    fn from(error: AnnotateError) -> Self {
        match error {
            AnnotateError::Archive(error) => error.into(),
            error @ AnnotateError::BeingRemoved(_) => failure(Exit::Failed, &error, error.help()),
            error => failure(Exit::Refused, &error, error.help()),
        }
    }
}

impl From<LocationError> for Failure {
    fn from(error: LocationError) -> Self {
        Failure::new(Exit::Usage, error.to_string())
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        let exit = match &error {
            ChainError::Unreadable {
                source: ArchiveError::Store(error),
                ..
            } => of_store(error),
            _ => Exit::Refused,
        };
        let help =
            "`terrariumctl archive verify` says what is damaged and what can still be restored";
        failure(exit, &error, (exit == Exit::Refused).then_some(help))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let help = error.help();
        let help =
            help.or_else(|| Some("is TERRARIUM_STATE_DIR right, and may you use it?".into()));
        failure(Exit::Refused, &error, help)
    }
}

impl From<Difference> for Failure {
    fn from(error: Difference) -> Self {
        Failure::new(Exit::Refused, error.to_string())
    }
}

impl From<CryptoError> for Failure {
    fn from(error: CryptoError) -> Self {
        let exit = match &error {
            CryptoError::Recipient(_) | CryptoError::RecipientCount(_) => Exit::Usage,
            CryptoError::Random(_) | CryptoError::Encrypt(_) => Exit::Failed,
            _ => Exit::Refused,
        };
        failure(exit, &error, error.help())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let help = match &error {
            OpenError::Decrypt(error) => error.help(),
            _ => None,
        };
        failure(Exit::Refused, &error, help)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let exit = match &error {
            WriteError::Package
            | WriteError::Rest
            | WriteError::Unexpected { .. }
            | WriteError::JournalInUse { .. } => Exit::Refused,
            WriteError::Store { source, .. } => of_store_later(source),
            _ => Exit::Failed,
        };
        let help = match &error {
            WriteError::Store { source, .. } => source.help(),
            WriteError::Stream(_) => Some(
                "nothing of it is listed; send it anew. What was stored is not stored again".into(),
            ),
            _ => None,
        };
        failure(exit, &error, help)
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let exit = match &error {
            PublishError::Store(error) => of_store_later(error),
            _ => Exit::Failed,
        };
        let help = match &error {
            PublishError::Store(StoreError::Exists { .. }) => {
                Some("somebody else stored the same snapshot; run it again to see it".to_owned())
            }
            error => error.help(),
        };
        failure(exit, &error, help)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Host(error) => error.into(),
            error => failure(error.class().into(), with_causes(&error), error.help()),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Host(error) => error.into(),
            FetchError::Sealed { snapshot, source } => within(&snapshot, source),
            FetchError::Read { snapshot, source } => within(&snapshot, *source),
            error => failure(error.class().into(), &error, error.help()),
        }
    }
}

/// Says of which snapshot.
fn within(snapshot: &SnapshotName, error: impl Into<Failure>) -> Failure {
    let mut failure: Failure = error.into();
    failure.message = format!("{snapshot}: {}", failure.message);
    failure
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let exit = match &error {
            ReadError::Store { source, .. } => of_store_later(source),
            _ => Exit::Failed,
        };
        let help = match &error {
            ReadError::Store { source, .. } => source.help(),
            ReadError::Output(_) | ReadError::Interrupted | ReadError::Key(_) => None,
            _ => Some("`terrariumctl archive verify` says what can still be restored".to_owned()),
        };
        failure(exit, &error, help)
    }
}

#[cfg(test)]
mod tests {
    use terrarium_s3::{Attempt, Call};

    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_4_and_3_promises_that_nothing_was_stored() {
        let attempt = || Attempt {
            call: Call::Create,
            name: "v1/archive.json".to_owned(),
            place: "s3://backups".to_owned(),
        };
        let detail = || "it is so".to_owned();
        let down = || StoreError::Unavailable {
            attempt: attempt(),
            detail: detail(),
        };
        let denied = || StoreError::Denied {
            attempt: attempt(),
            detail: detail(),
        };
        let code = |failure: Failure| failure.exit.code();
        assert_eq!(code(down().into()), 4);
        assert_eq!(code(ArchiveError::from(down()).into()), 4);
        assert_eq!(code(ArchiveError::from(denied()).into()), 3);
        let part = |source| WriteError::Store { number: 7, source };
        assert_eq!(code(part(down()).into()), 4);
        assert_eq!(code(part(denied()).into()), 1);
        assert_eq!(code(PublishError::Store(down()).into()), 4);
        assert_eq!(code(PublishError::Store(denied()).into()), 1);
        assert!(Failure::from(denied()).help.is_some());
    }
}
