//! From what every place says to what holds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::layer::{Layer, Problem, ProblemKind, Value};
use super::table::{Key, Origin};

/// What says where the archive is: these come from one place together.
const PLACE: [Key; 4] = [Key::Archive, Key::EnableS3, Key::S3Bucket, Key::S3Prefix];

/// A value that holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it is from.
    pub origin: Origin,
}

/// What holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Every setting that has a value.
    pub values: BTreeMap<Key, Setting>,
    /// What cannot be heeded, and what does not go together.
    pub problems: Vec<Problem>,
}

/// Finds out what holds. For each setting the most specific layer that has it is heeded, with two exceptions, so that
/// no key is shown to a service that it is not of:
///
/// - where the archive is, is said by one layer as a whole, and endpoint, region and keys of layers that are less
///   specific than it are of another archive and not used;
/// - an access key and its secret come from the same layer.
pub fn resolve(layers: &[Layer]) -> Settings {
    let mut layers: Vec<&Layer> = layers.iter().collect();
    layers.sort_by_key(|layer| layer.origin);
    let has = |layer: &&Layer, keys: &[Key]| keys.iter().any(|key| layer.values.contains_key(key));
    let place = layers.iter().position(|layer| has(layer, &PLACE));
    let of_archive = place.map_or(&layers[..], |at| &layers[..=at]);
    let pair = [Key::S3AccessKey, Key::S3SecretKey];
    let mut settings = Settings::default();
    for key in Key::ALL {
        let from = match key {
            key if PLACE.contains(key) => place.map(|at| layers[at]),
            key if pair.contains(key) => of_archive.iter().find(|it| has(it, &pair)).copied(),
            Key::S3Endpoint | Key::S3Region => {
                of_archive.iter().find(|it| has(it, &[*key])).copied()
            }
            key => layers.iter().find(|it| has(it, &[*key])).copied(),
        };
        if let Some((layer, value)) = from.and_then(|layer| Some((layer, layer.values.get(key)?))) {
            let setting = Setting {
                value: value.clone(),
                origin: layer.origin,
            };
            settings.values.insert(*key, setting);
        }
    }
    settings.problems = layers
        .iter()
        .flat_map(|layer| layer.problems.clone())
        .collect();
    let contradictions = settings.contradictions();
    settings.problems.extend(contradictions);
    settings
}

impl Settings {
    /// The text of a setting, secrets included.
    pub fn text(&self, key: Key) -> Option<&str> {
        self.values.get(&key).map(|setting| setting.value.expose())
    }

    /// The archive, as a URL.
    pub fn archive(&self) -> Option<String> {
        if let Some(archive) = self.text(Key::Archive) {
            return Some(archive.to_owned());
        }
        if self.text(Key::EnableS3) == Some("false") {
            return None;
        }
        let bucket = self.text(Key::S3Bucket)?;
        let prefix = self
            .text(Key::S3Prefix)
            .map(|prefix| prefix.trim_matches('/'));
        Some(match prefix.filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("s3://{bucket}/{prefix}"),
            None => format!("s3://{bucket}"),
        })
    }

    /// Problems that leave it open which archive is meant, or who asks for it. The others are worth a warning.
    pub fn fatal(&self) -> impl Iterator<Item = &Problem> {
        let is_fatal = |problem: &&Problem| problem.kind != ProblemKind::Unknown;
        self.problems.iter().filter(is_fatal)
    }

    fn contradictions(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut says = |key: Key, what: &str| {
            if let Some(setting) = self.values.get(&key) {
                found.push(Problem {
                    key: key.lxd().to_owned(),
                    origin: setting.origin,
                    kind: ProblemKind::Contradiction(what.to_owned()),
                });
            }
        };
        let has = |key: Key| self.values.contains_key(&key);
        let on = |key: Key| self.text(key) == Some("true");
        if on(Key::EnableS3) && !has(Key::S3Bucket) {
            says(Key::EnableS3, "S3 is to be used, and no bucket is said");
        }
        if has(Key::Archive) && has(Key::S3Bucket) && self.text(Key::EnableS3) != Some("false") {
            says(
                Key::Archive,
                "the archive is said twice, here and as a bucket",
            );
        }
        if has(Key::S3Prefix) && !has(Key::S3Bucket) {
            says(Key::S3Prefix, "it belongs to a bucket, and none is said");
        }
        if has(Key::S3AccessKey) && !has(Key::S3SecretKey) {
            says(Key::S3AccessKey, "its secret is not said in the same place");
        }
        if has(Key::S3SecretKey) && !has(Key::S3AccessKey) {
            says(
                Key::S3SecretKey,
                "its access key is not said in the same place",
            );
        }
        if on(Key::EnableSyncoid) && !(has(Key::SyncoidTarget) && has(Key::SyncoidTargetDataset)) {
            says(
                Key::EnableSyncoid,
                "syncoid is to be used, and target or dataset is not said",
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(origin: Origin, values: &[(Key, &str)]) -> Layer {
        let mut layer = Layer::empty(origin);
        for (key, text) in values {
            let value = Value::parse(*key, (*text).to_owned()).unwrap();
            layer.values.insert(*key, value);
        }
        layer
    }

    #[test]
    fn the_most_specific_layer_holds_and_says_where_it_is_from() {
        let found = resolve(&[
            layer(
                Origin::File,
                &[
                    (Key::S3Bucket, "f"),
                    (Key::LxdPool, "f"),
                    (Key::S3Region, "f"),
                ],
            ),
            layer(Origin::Environment, &[(Key::S3Region, "e")]),
            layer(Origin::Lxd, &[(Key::LxdPool, "l")]),
        ]);
        let of = |key| (found.text(key).unwrap(), found.values[&key].origin);
        assert_eq!(of(Key::S3Bucket), ("f", Origin::File));
        assert_eq!(of(Key::LxdPool), ("l", Origin::Lxd));
        assert_eq!(of(Key::S3Region), ("e", Origin::Environment));
        assert_eq!(found.archive().as_deref(), Some("s3://f"));
        assert_eq!(found.problems, []);
    }

    #[test]
    fn keys_of_one_archive_are_not_shown_to_the_service_of_another() {
        let keys = [
            (Key::S3AccessKey, "a"),
            (Key::S3SecretKey, "s"),
            (Key::S3Endpoint, "https://e"),
        ];
        let lxd = [&keys[..], &[(Key::S3Bucket, "b"), (Key::S3Prefix, "/p/")]].concat();
        let alone = resolve(&[layer(Origin::Lxd, &lxd)]);
        assert_eq!(alone.archive().as_deref(), Some("s3://b/p"));
        assert_eq!(alone.text(Key::S3SecretKey), Some("s"));
        let found = resolve(&[
            layer(Origin::Lxd, &lxd),
            layer(Origin::Environment, &[(Key::Archive, "s3://other")]),
        ]);
        assert_eq!(found.values.len(), 1, "{found:?}");
        let found = resolve(&[
            layer(Origin::Lxd, &lxd),
            layer(Origin::Environment, &[(Key::S3AccessKey, "theirs")]),
        ]);
        assert_eq!(found.text(Key::S3SecretKey), None);
        assert_eq!(
            found.problems[0].to_string(),
            "user.terrarium.s3.access-key (environment): its secret is not said in the same place"
        );
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let said = |values: &[(Key, &str)]| {
            let found = resolve(&[layer(Origin::Lxd, values)]);
            assert_eq!(found.fatal().count(), found.problems.len());
            found
                .problems
                .iter()
                .map(|it| it.key.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            said(&[(Key::EnableS3, "yes")]),
            ["user.terrarium.s3.enable"]
        );
        assert_eq!(said(&[(Key::S3Prefix, "p")]), ["user.terrarium.s3.prefix"]);
        let twice = [(Key::Archive, "file:///a"), (Key::S3Bucket, "b")];
        assert_eq!(said(&twice), ["user.terrarium.archive"]);
        let off = [&twice[..], &[(Key::EnableS3, "no")]].concat();
        assert!(said(&off).is_empty());
        assert_eq!(
            said(&[(Key::EnableSyncoid, "true")]),
            ["user.terrarium.syncoid.enable"]
        );
    }
}
