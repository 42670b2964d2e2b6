//! The YAML file, readable by its owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::layer::Layer;

/// Where the file is unless somebody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/terrarium/config.yaml";

/// A settings file is small; more is another file.
const LONGEST: u64 = 1 << 20;

/// Why a file is not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else can read it.
    #[error("{} holds secrets, and others than its owner may read it", .0.display())]
    Exposed(PathBuf),
    /// It is not what it should be.
    #[error("cannot read {}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; nothing of its content.
        what: String,
    },
}

/// Reads a file; `None` if there is none.
///
/// # Errors
/// [`FileError::Exposed`] if there is a secret in it and somebody else may read it.
pub fn read_file(path: &Path) -> Result<Option<Layer>, FileError> {
    let failed = |source| FileError::Io {
        operation: "read",
        path: path.to_owned(),
        source,
    };
    let malformed = |what: String| FileError::Malformed {
        path: path.to_owned(),
        what,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.mode();
    let mut text = zeroize::Zeroizing::new(String::new());
    match file.take(LONGEST + 1).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(malformed("it is no text".to_owned()));
        }
        read => read.map_err(failed)?,
    };
    if text.len() as u64 > LONGEST {
        return Err(malformed("it is too long for settings".to_owned()));
    }
    let layer = Layer::of_yaml(&text).map_err(malformed)?;
    let secret = layer
        .values
        .values()
        .any(|value| matches!(value, super::Value::Secret(_)));
    if secret && mode & 0o077 != 0 {
        return Err(FileError::Exposed(path.to_owned()));
    }
    Ok(Some(layer))
}

/// Writes a file as a whole, mode 0600: beside the place first, then by a rename. A folder that is missing is made,
/// mode 0700.
///
/// # Errors
/// [`FileError::Io`]; what was there before is untouched then.
pub fn write_file(path: &Path, layer: &Layer) -> Result<(), FileError> {
    let failed = |source| FileError::Io {
        operation: "write",
        path: path.to_owned(),
        source,
    };
    let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(beside);
    let text = zeroize::Zeroizing::new(layer.to_yaml());
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    written.map_err(|error: io::Error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&beside);
        }
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::{Key, Origin, Value};
    use super::*;

    #[test]
    fn a_file_is_its_owners_only_and_one_with_a_secret_that_is_not_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.yaml");
        assert!(matches!(read_file(&path), Ok(None)));
        let mut layer = Layer::empty(Origin::File);
        let secret = Value::parse(Key::S3SecretKey, "hunter2".to_owned()).unwrap();
        layer.values.insert(Key::S3SecretKey, secret);
        write_file(&path, &layer).unwrap();
        write_file(&path, &layer).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read_file(&path).unwrap(), Some(layer));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(read_file(&path), Err(FileError::Exposed(_))));
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(write_file(&path, &Layer::empty(Origin::File)).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
