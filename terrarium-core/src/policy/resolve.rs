//! From the layers that people write to the policy of one instance.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{
    BACKUP, Hooks, LabelError, Policy, RETENTION, TEMPLATE_PREFIX, backup_label, retention_label,
};

/// Where settings of one instance come from, the most general first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// What holds where nobody says anything.
    pub default: &'a Policy,
    /// The config of the LXD project that is Terrarium's own; its templates serve all projects.
    pub ours: Option<&'a BTreeMap<String, String>>,
    /// The config of the instance's project.
    pub project: Option<&'a BTreeMap<String, String>>,
    /// The config of the instance, with that of its profiles.
    pub instance: &'a BTreeMap<String, String>,
}

/// Who said what holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// A label of the project.
    Project,
    /// A label of the instance or of one of its profiles.
    Instance,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Default => "the default",
            Origin::Project => "the project's label",
            Origin::Instance => "the instance's label",
        })
    }
}

/// A label that is not heeded, for it cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{at} {key}={value:?} is not heeded: {source}")]
#[non_exhaustive]
pub struct Problem {
    /// Where it stands.
    pub at: Origin,
    /// The label.
    pub key: &'static str,
    /// What it says.
    pub value: String,
    /// What is wrong with it.
    #[source]
    pub source: LabelError,
}

/// What holds for one instance.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// Whether the timer takes and removes scheduled snapshots of it.
    pub enabled: bool,
    /// Who said so.
    pub enabled_by: Origin,
    /// How often, and how long they are kept.
    pub policy: Policy,
    /// Who said so.
    pub policy_by: Origin,
    /// Commands around its snapshots.
    pub hooks: Option<Hooks>,
    /// Labels that are not heeded.
    pub problems: Vec<Problem>,
}

/// Finds out what holds for an instance. A label that cannot be understood counts as if it were not there, and so do
/// those it would have changed: the instance falls back to the default, never to less.
pub fn resolve(layers: Layers<'_>) -> Resolved {
    let (hooks, problems) = Hooks::of(layers.instance);
    let mut resolved = Resolved {
        enabled: true,
        enabled_by: Origin::Default,
        policy: layers.default.clone(),
        policy_by: Origin::Default,
        hooks,
        problems,
    };
    let mut templates = BTreeMap::new();
    for config in [layers.ours, layers.project].into_iter().flatten() {
        templates.extend(config.iter().filter_map(|(key, text)| {
            let name = key.strip_prefix(TEMPLATE_PREFIX)?;
            Some((name.to_owned(), text.clone()))
        }));
    }
    let said = [
        (Origin::Project, layers.project),
        (Origin::Instance, Some(layers.instance)),
    ];
    for (at, config) in said {
        let Some(config) = config else { continue };
        let problem = |key, value: &str, source| Problem {
            at,
            key,
            value: value.to_owned(),
            source,
        };
        if let Some(text) = config.get(BACKUP) {
            match backup_label(text) {
                Ok(enabled) => (resolved.enabled, resolved.enabled_by) = (enabled, at),
                Err(error) => {
                    // What is unclear must not leave an instance without snapshots.
                    (resolved.enabled, resolved.enabled_by) = (true, Origin::Default);
                    resolved.problems.push(problem(BACKUP, text, error));
                }
            }
        }
        if let Some(text) = config.get(RETENTION) {
            match retention_label(text, &resolved.policy, &templates) {
                Ok(policy) => (resolved.policy, resolved.policy_by) = (policy, at),
                Err(error) => {
                    resolved.policy = layers.default.clone();
                    resolved.policy_by = Origin::Default;
                    resolved.problems.push(problem(RETENTION, text, error));
                }
            }
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        owned.collect()
    }

    fn resolved(project: &[(&str, &str)], instance: &[(&str, &str)]) -> Resolved {
        let ours = config(&[("user.terrarium.template.long", "daily=90,monthly=24")]);
        resolve(Layers {
            default: &Policy::default(),
            ours: Some(&ours),
            project: Some(&config(project)),
            instance: &config(instance),
        })
    }

    #[test]
    fn an_instances_label_changes_what_its_projects_says() {
        let found = resolved(
            &[(RETENTION, "template=long"), (BACKUP, "off")],
            &[(RETENTION, "hourly=48"), (BACKUP, "on")],
        );
        assert_eq!(
            found.policy.to_string(),
            "frequently=4,hourly=48,daily=90,monthly=24"
        );
        assert_eq!(found.policy_by, Origin::Instance);
        assert_eq!((found.enabled, found.enabled_by), (true, Origin::Instance));
        assert!(found.problems.is_empty());

        let found = resolved(&[(BACKUP, "off")], &[]);
        assert_eq!((found.enabled, found.enabled_by), (false, Origin::Project));
        assert_eq!(found.policy_by, Origin::Default);
    }

    #[test]
    fn a_template_of_the_project_hides_ours() {
        let found = resolved(
            &[("user.terrarium.template.long", "daily=365")],
            &[(RETENTION, "template=long")],
        );
        assert_eq!(found.policy.count(super::super::Period::Daily), 365);
    }

    #[test]
    fn a_label_that_makes_no_sense_is_named_and_the_default_holds() {
        let found = resolved(
            &[(RETENTION, "daily=7"), (BACKUP, "off")],
            &[(RETENTION, "hourly=lots"), (BACKUP, "perhaps")],
        );
        assert!(found.enabled);
        assert_eq!(found.policy, Policy::default());
        let named: Vec<_> = found.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "the instance's label user.terrarium.backup=\"perhaps\" is not heeded: \"perhaps\" is neither on nor \
                 off",
                "the instance's label user.terrarium.retention=\"hourly=lots\" is not heeded: hourly=lots: expected a \
                 number from 0 to 4294967295",
            ]
        );
    }
}
