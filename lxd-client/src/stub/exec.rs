//! The stub answers commands and keeps what they "printed" until it is fetched.

use serde_json::{Map, Value, json};

use super::instances::find;
use super::invent::random_uuid;
use super::server::{Answer, Ask, Lxd, Reply, refuse};
use super::world::RUNNING;

pub(super) fn run(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    if find(lxd, ask, name)?.status_code != RUNNING {
        return refuse(400, "Instance is not running");
    }
    let words = ask.body.get("command").and_then(Value::as_array);
    let command: Vec<String> = words
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect();
    let records = ask.flag("record-output");
    let (this, name) = (lxd.clone(), name.to_owned());
    lxd.begin(ask, "Executing command", async move {
        let exec = this.world().exec.clone();
        let output = exec(&command)?;
        let mut metadata = Map::new();
        metadata.insert("return".to_owned(), json!(output.exit_code));
        if records {
            let id = random_uuid();
            let mut urls = Map::new();
            let streams = [
                ("1", "stdout", output.stdout),
                ("2", "stderr", output.stderr),
            ];
            for (number, stream, bytes) in streams {
                let file = format!("exec_{id}.{stream}");
                let url = format!("/1.0/instances/{name}/logs/{file}");
                urls.insert(number.to_owned(), json!(url));
                this.world()
                    .logs
                    .insert((name.clone(), file), bytes.to_vec());
            }
            metadata.insert("output".to_owned(), urls.into());
        }
        Ok(metadata)
    })
}

pub(super) fn read_log(lxd: &Lxd, name: &str, file: &str) -> Answer {
    match lxd.world().logs.get(&(name.to_owned(), file.to_owned())) {
        Some(bytes) => Ok(Reply::File(bytes.clone())),
        None => refuse(404, "Not Found"),
    }
}

pub(super) fn delete_log(lxd: &Lxd, name: &str, file: &str) -> Answer {
    match lxd.world().logs.remove(&(name.to_owned(), file.to_owned())) {
        Some(_) => Ok(Reply::Sync(json!({}))),
        None => refuse(404, "Not Found"),
    }
}
