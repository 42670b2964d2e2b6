//! The stub does what every LXD must do; the testbed holds the real one to the same.

use std::sync::Arc;

use lxd_client::conformance::{self, Subject};
use lxd_client::stub::{NoStorage, Stub};
use lxd_client::{Client, Instance, Project};

async fn examine(project: &str) {
    let stub = Stub::start(Arc::new(NoStorage)).await;
    let mut tenant = Project::default();
    tenant.name = "tenant & co".to_owned();
    tenant
        .config
        .insert("features.profiles".into(), "false".into());
    stub.add_project(tenant);
    for name in ["c1", "stubborn"] {
        let mut instance = Instance::default();
        instance.name = name.to_owned();
        instance.profiles = vec!["default".to_owned()];
        stub.add_instance(project, instance, false);
    }
    stub.ignore_graceful_stop("stubborn", true);
    stub.answer_exec(conformance::exec);

    let client = Client::connect_to(stub.socket())
        .await
        .expect("the stub answers");
    let subject = Subject {
        client: client.project(project),
        instance: "c1".to_owned(),
        stubborn: "stubborn".to_owned(),
        free: "free".to_owned(),
    };
    for (_, case) in conformance::cases() {
        case(&subject).await;
    }
}

#[tokio::test]
async fn the_stub_does_what_every_lxd_must_do() {
    examine("default").await;
}

#[tokio::test]
async fn the_stub_does_the_same_in_another_project() {
    examine("tenant & co").await;
}
