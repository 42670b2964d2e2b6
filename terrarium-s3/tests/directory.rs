//! What the directory store does beyond the suite: on the disk, among processes, and when a write is killed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use terrarium_s3::{DirectoryStore, Key, Store, StoreError};

const FOLDER: &str = "TERRARIUM_TEST_FOLDER";
const LABEL: &str = "TERRARIUM_TEST_LABEL";

#[tokio::test]
async fn files_and_folders_are_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store.create(&key("v1/a/object"), "x".into()).await.unwrap();
    for (path, mode) in [("v1", 0o700), ("v1/a", 0o700), ("v1/a/object", 0o600)] {
        let permissions = fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions();
        assert_eq!(permissions.mode() & 0o7777, mode, "{path}");
    }
    assert_eq!(files(folder.path()).len(), 1, "no temporary file stays");
}

#[tokio::test]
async fn folders_that_a_delete_empties_go_and_the_directory_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store
        .create(&key("v1/a/b/object"), "x".into())
        .await
        .unwrap();
    store.create(&key("v1/other"), "x".into()).await.unwrap();
    store.delete(&key("v1/a/b/object")).await.unwrap();
    assert!(!folder.path().join("v1/a").exists());
    store.delete(&key("v1/other")).await.unwrap();
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn a_directory_that_is_missing_or_was_removed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("archive");
    let error = DirectoryStore::open(&missing).unwrap_err();
    assert!(matches!(error, StoreError::NoSuchPlace { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(missing.to_str().unwrap()), "{text}");

    fs::create_dir(&missing).unwrap();
    let store = DirectoryStore::open(&missing).unwrap();
    fs::remove_dir(&missing).unwrap();
    // As if another disk were mounted there: nothing goes to it.
    fs::create_dir(&missing).unwrap();
    let errors = [
        store.create(&key("v1/a"), "x".into()).await.unwrap_err(),
        store.read(&key("v1/a")).await.unwrap_err(),
        store.size(&key("v1/a")).await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.list("v1/").await.unwrap_err(),
        store.delete(&key("v1/a")).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::NoSuchPlace { .. }), "{error:?}");
    }
    assert!(files(&missing).is_empty());
}

#[tokio::test]
async fn what_is_no_regular_file_is_no_object() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
    symlink(outside.path(), folder.path().join("folder")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(folder.path().join("fifo"))
        .status();
    assert!(fifo.unwrap().success());

    assert!(store.list("").await.unwrap().is_empty());
    for name in ["link", "fifo"] {
        let read = store.read(&key(name)).await;
        assert!(matches!(read, Err(StoreError::NotFound { .. })), "{read:?}");
        assert_eq!(store.size(&key(name)).await.unwrap(), None);
        let created = store.create(&key(name), "x".into()).await;
        assert!(
            matches!(created, Err(StoreError::Exists { .. })),
            "{created:?}"
        );
        store.delete(&key(name)).await.unwrap();
    }
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn an_object_cannot_be_below_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store.create(&key("v1/a"), "x".into()).await.unwrap();
    let below = store.create(&key("v1/a/b"), "x".into()).await;
    assert!(
        matches!(below, Err(StoreError::Refused { .. })),
        "{below:?}"
    );
    assert_eq!(store.size(&key("v1/a/b")).await.unwrap(), None);
}

#[tokio::test]
async fn creating_goes_on_while_another_deletes_the_folder_empty() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let (one, two) = (key("v1/run/one"), key("v1/run/two"));
    let round = async |key: &Key| {
        for _ in 0..100 {
            store.create(key, "x".into()).await.unwrap();
            store.delete(key).await.unwrap();
        }
    };
    tokio::join!(round(&one), round(&two));
}

/// Not a test of its own: what the processes of the test below do.
#[tokio::test]
async fn as_one_of_two_processes() {
    let (Ok(folder), Ok(label)) = (std::env::var(FOLDER), std::env::var(LABEL)) else {
        return;
    };
    let store = DirectoryStore::open(folder).unwrap();
    if label == "to be killed" {
        let body = Bytes::from(vec![7; 64 << 20]);
        for n in 0.. {
            store
                .create(&key(&format!("v1/{n}")), body.clone())
                .await
                .unwrap();
            store.delete(&key(&format!("v1/{n}"))).await.unwrap();
        }
    }
    for n in 0..100 {
        let body = Bytes::from(label.repeat(1000));
        match store.create(&key(&format!("v1/{n:03}")), body).await {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn of_two_processes_that_create_the_same_objects_each_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (process(folder.path(), "one"), process(folder.path(), "two"));
    for mut process in [one, two] {
        assert!(process.wait().unwrap().success());
    }
    let store = DirectoryStore::open(folder.path()).unwrap();
    let objects = store.list("").await.unwrap();
    assert_eq!(objects.len(), 100);
    for object in objects {
        let body = store.read(&object.key).await.unwrap();
        let whole = ["one", "two"].map(|label| label.repeat(1000));
        assert!(whole.iter().any(|whole| body == whole), "{}", object.key);
    }
    assert_eq!(files(folder.path()).len(), 100, "no temporary file stays");
}

#[tokio::test]
async fn a_killed_write_leaves_no_object_but_a_leftover() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = process(folder.path(), "to be killed");
    let store = DirectoryStore::open(folder.path()).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < until, "no write was caught half done");
        let writing = store.leftovers().await.unwrap();
        if writing
            .iter()
            .any(|file| file.size > 0 && file.size < 64 << 20)
        {
            break;
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();

    for object in store.list("").await.unwrap() {
        assert_eq!(object.size, 64 << 20, "an object that is not whole");
    }
    let left = store.leftovers().await.unwrap();
    let all = files(folder.path()).len();
    assert_eq!(left.len() + store.list("").await.unwrap().len(), all);
    for leftover in &left {
        store.remove_leftover(leftover).await.unwrap();
        store.remove_leftover(leftover).await.unwrap();
    }
    assert!(store.leftovers().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_leftover_is_not_listed_read_or_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store.create(&key("v1/a"), "x".into()).await.unwrap();
    fs::write(folder.path().join("v1/~77.1.0"), "half").unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert_eq!(store.list("v1/").await.unwrap().len(), 1);
    let left = store.leftovers().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].path.as_path(), left[0].size),
        (Path::new("v1/~77.1.0"), 4)
    );
    store.create(&key("v1/b"), "x".into()).await.unwrap();
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

fn process(folder: &Path, label: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "as_one_of_two_processes"])
        .env(FOLDER, folder)
        .env(LABEL, label)
        .stdout(Stdio::null())
        .spawn()
        .expect("the process starts")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}
