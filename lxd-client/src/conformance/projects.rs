//! Projects are created, changed and deleted.

use super::{Subject, is};
use crate::{Config, ErrorKind, Project};

fn asked(subject: &Subject, pairs: &[(&str, &str)]) -> Project {
    let own = [
        ("features.images", "true"),
        ("features.profiles", "true"),
        ("features.storage.volumes", "true"),
        ("features.networks", "true"),
    ];
    let config: Config = own
        .iter()
        .chain(pairs)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Project {
        name: subject.free.clone(),
        description: "of the suite".to_owned(),
        config,
        ..Project::default()
    }
}

pub(super) async fn a_project_is_created_changed_and_deleted(subject: &Subject) {
    let (client, name) = (&subject.client, &subject.free);
    is(ErrorKind::NotFound, client.project_tagged(name).await);
    let new = asked(subject, &[("user.a", "1 ä\n\"'\\ &?"), ("user.b", "2")]);
    is(ErrorKind::NotFound, client.update_project(&new, None).await);
    client.create_project(&new).await.expect("it is created");
    is(ErrorKind::Conflict, client.create_project(&new).await);

    let found = client.project_tagged(name).await.expect("it is there");
    assert!(found.etag.is_some(), "a change can be made safe");
    assert_eq!(found.value.description, new.description);
    for (key, value) in &new.config {
        assert_eq!(found.value.config.get(key), Some(value), "{key}");
    }

    let mut changed = found.value;
    changed.config.remove("user.b");
    changed.config.insert("user.c".to_owned(), "3".to_owned());
    let put = client.update_project(&changed, found.etag.as_deref()).await;
    put.expect("it is changed");
    let after = client
        .project_tagged(name)
        .await
        .expect("it is there")
        .value;
    assert_eq!(
        after.config, changed.config,
        "a whole update is taken as it is"
    );

    changed.config.insert("nonsense".to_owned(), "1".to_owned());
    is(
        ErrorKind::Refused,
        client.update_project(&changed, None).await,
    );
    let still = client.project_info(name).await.expect("it is there");
    assert_eq!(
        still.config, after.config,
        "what is refused changes nothing"
    );

    client.delete_project(name).await.expect("it is deleted");
    is(ErrorKind::NotFound, client.delete_project(name).await);
}

pub(super) async fn a_project_that_changed_meanwhile_is_not_overwritten(subject: &Subject) {
    let (client, name) = (&subject.client, &subject.free);
    let new = asked(subject, &[("user.a", "1")]);
    client.create_project(&new).await.expect("it is created");
    let found = client.project_tagged(name).await.expect("it is there");
    let mut theirs = found.value.clone();
    theirs.config.insert("user.a".to_owned(), "2".to_owned());
    let put = client.update_project(&theirs, found.etag.as_deref()).await;
    put.expect("theirs is taken");

    let mut ours = found.value;
    ours.config.insert("user.a".to_owned(), "3".to_owned());
    is(
        ErrorKind::PreconditionFailed,
        client.update_project(&ours, found.etag.as_deref()).await,
    );
    let now = client.project_info(name).await.expect("it is there");
    assert_eq!(now.config["user.a"], "2");
    client.delete_project(name).await.expect("it is deleted");
}
