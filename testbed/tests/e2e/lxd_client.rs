//! lxd-client: the real LXD does what the stub does.

use lxd_client::Client;
use lxd_client::conformance::{self, Subject};
use testbed::{Image, Instance, unique_name};

#[test]
fn the_real_lxd_does_what_the_stub_does() {
    testbed::assert_in_guest();
    let instance = Instance::create("conforms", Image::Busybox);
    let stubborn = Instance::create("ignores", Image::Stubborn);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let subject = Subject {
            client: Client::connect().await.expect("LXD answers"),
            instance: instance.name().to_owned(),
            stubborn: stubborn.name().to_owned(),
            free: unique_name("free"),
        };
        for (name, case) in conformance::cases() {
            println!("{name}");
            case(&subject).await;
        }
    });
}
