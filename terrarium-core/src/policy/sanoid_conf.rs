//! An existing `sanoid.conf`, as far as it says how often snapshots are taken and how long they are kept.
//!
//! What a section says is put together as sanoid does it: its defaults, `template_default`, the templates that
//! `use_template` names in their order, the section itself; `recursive` passes all of it on to the datasets beneath.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Period, Policy, PolicyError, Schedule};

mod setting;

use setting::{Setting, Settings};

/// The name of a template's section is this and the name that `use_template` has for it.
const TEMPLATE: &str = "template_";

/// What is worth telling of a file that could be read.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Notice {
    /// The line that it is about, from 1 on.
    pub line: usize,
    /// The key there.
    pub key: String,
    /// What is to be told of it.
    pub kind: NoticeKind,
}

/// What is to be told of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NoticeKind {
    /// There is no such key in sanoid 2.1, which refuses a file with one.
    Unknown,
    /// It means something to sanoid, and nothing here.
    NotUsed,
    /// sanoid ignores it in a template, and so is it here.
    NotInTemplates,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, key, kind } = self;
        match kind {
            NoticeKind::Unknown => write!(f, "line {line}: {key:?} is unknown"),
            NoticeKind::NotUsed => write!(f, "line {line}: {key} has no effect here"),
            NoticeKind::NotInTemplates => {
                write!(f, "line {line}: {key} has no effect in a template")
            }
        }
    }
}

/// Why a `sanoid.conf` cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SanoidConfError {
    /// A line is no section, no `key = value` and no comment.
    #[error("line {line}: neither [SECTION] nor KEY = VALUE")]
    Syntax {
        /// From 1 on.
        line: usize,
    },
    /// A setting stands before the first section.
    #[error("line {line}: {key} stands before the first [SECTION]")]
    Outside {
        /// From 1 on.
        line: usize,
        /// The setting.
        key: String,
    },
    /// A section says the same thing twice.
    #[error("line {line}: {key} is in [{section}] already")]
    Twice {
        /// From 1 on.
        line: usize,
        /// The setting.
        key: String,
        /// The section.
        section: String,
    },
    /// A value is not what its key needs.
    #[error("line {line}: {key} is {value:?}, and must be {allowed}")]
    Value {
        /// From 1 on.
        line: usize,
        /// The key.
        key: String,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A template is used that there is not.
    #[error("line {line}: there is no [template_{name}]")]
    NoTemplate {
        /// From 1 on.
        line: usize,
        /// Its name.
        name: String,
    },
    /// There is no such template to be asked for.
    #[error("it has no [template_{0}]")]
    NotThere(String),
    /// What a section says comes to no policy.
    #[error("line {line}: [{section}]: {source}")]
    Policy {
        /// Where the section begins, from 1 on.
        line: usize,
        /// The section.
        section: String,
        /// Why it is none.
        #[source]
        source: PolicyError,
    },
}

/// A `sanoid.conf` that was read.
#[derive(Clone, Debug, Default)]
pub struct SanoidConf {
    sections: Vec<Section>,
    notices: Vec<Notice>,
}

#[derive(Clone, Debug)]
struct Section {
    name: String,
    /// Where it begins.
    line: usize,
    /// What it says, in its order; only what is used.
    settings: Vec<Setting>,
    recursive: bool,
    skip_children: bool,
    children_only: bool,
    path: Option<String>,
    /// Names, and the lines that they stand in.
    templates: Vec<(String, usize)>,
}

impl SanoidConf {
    /// Reads the text of a `sanoid.conf`.
    ///
    /// # Errors
    /// What no policy can be made of, with its line: bad syntax, bad values, templates that there are not. Keys that
    /// are unknown or have no effect are [notices](Self::notices).
    pub fn parse(text: &str) -> Result<Self, SanoidConfError> {
        let mut conf = Self::default();
        let mut current: Option<usize> = None;
        let mut seen = BTreeSet::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = text.strip_prefix('[') {
                let name = name.strip_suffix(']').map(str::trim);
                let name = name.filter(|name| !name.is_empty());
                current = Some(conf.section(name.ok_or(SanoidConfError::Syntax { line })?, line));
                continue;
            }
            let (key, value) = text
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .filter(|(key, _)| !key.is_empty())
                .ok_or(SanoidConfError::Syntax { line })?;
            let name_of_key = || key.to_owned();
            let Some(section) = current.and_then(|index| conf.sections.get_mut(index)) else {
                let key = name_of_key();
                return Err(SanoidConfError::Outside { line, key });
            };
            if !seen.insert((section.line, name_of_key())) {
                return Err(SanoidConfError::Twice {
                    line,
                    key: name_of_key(),
                    section: section.name.clone(),
                });
            }
            if let Some(kind) = section.read(key, value, line)? {
                let key = name_of_key();
                conf.notices.push(Notice { line, key, kind });
            }
        }
        for (name, line) in conf.sections.iter().flat_map(|section| &section.templates) {
            if conf.find(name).is_none() {
                return Err(SanoidConfError::NoTemplate {
                    line: *line,
                    name: name.clone(),
                });
            }
        }
        Ok(conf)
    }

    /// What is worth telling, by line.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The names of its templates, without `template_`.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        let sections = self.sections.iter();
        sections.filter_map(|section| section.name.strip_prefix(TEMPLATE))
    }

    /// The datasets that it has sections for.
    pub fn datasets(&self) -> impl Iterator<Item = &str> {
        let sections = self.sections.iter();
        sections
            .filter(|section| !section.is_template())
            .map(Section::dataset)
    }

    /// What holds for a dataset of which a section says nothing but to use this template.
    ///
    /// # Errors
    /// [`SanoidConfError::NotThere`], [`SanoidConfError::Policy`].
    pub fn template(&self, name: &str) -> Result<Policy, SanoidConfError> {
        let Some(template) = self.find(name) else {
            return Err(SanoidConfError::NotThere(name.to_owned()));
        };
        let mut settings = self.default_settings();
        settings.change(&template.settings);
        template.policy(settings)
    }

    /// What holds for a dataset; nothing, if sanoid would leave it alone.
    ///
    /// Sections are applied in their order, as sanoid does it: a recursive one *replaces* what earlier ones have said
    /// of the datasets beneath it.
    ///
    /// # Errors
    /// [`SanoidConfError::Policy`].
    pub fn policy_of(&self, dataset: &str) -> Result<Option<Policy>, SanoidConfError> {
        // Sections pass on what was passed on to them, so all datasets that have one are followed.
        let mut followed: BTreeMap<&str, Option<(Settings, &Section)>> =
            self.datasets().map(|name| (name, None)).collect();
        followed.insert(dataset, None);
        for section in &self.sections {
            if section.is_template() {
                continue;
            }
            let here = section.dataset();
            let before = followed.get_mut(here).and_then(Option::take);
            let mut settings = match before {
                Some((settings, _)) => settings,
                None => self.default_settings(),
            };
            for (name, _) in &section.templates {
                if let Some(template) = self.find(name) {
                    settings.change(&template.settings);
                }
            }
            settings.change(&section.settings);
            for (name, slot) in &mut followed {
                let is_beneath = name
                    .strip_prefix(here)
                    .is_some_and(|rest| rest.starts_with('/'));
                if *name == here {
                    *slot = Some((settings.clone(), section));
                } else if is_beneath && section.skip_children {
                    *slot = None;
                } else if is_beneath && section.recursive {
                    *slot = Some((settings.clone(), section));
                }
            }
        }
        match followed.remove(dataset).flatten() {
            Some((_, section)) if section.children_only && section.dataset() == dataset => Ok(None),
            Some((settings, section)) => section.policy(settings).map(Some),
            None => Ok(None),
        }
    }

    fn default_settings(&self) -> Settings {
        let mut settings = Settings::default();
        if let Some(default) = self.find("default") {
            settings.change(&default.settings);
        }
        settings
    }

    fn find(&self, template: &str) -> Option<&Section> {
        let is_it = |section: &&Section| section.name.strip_prefix(TEMPLATE) == Some(template);
        self.sections.iter().find(is_it)
    }

    /// The section of that name, which may have been begun before.
    fn section(&mut self, name: &str, line: usize) -> usize {
        let known = self.sections.iter().position(|known| known.name == name);
        known.unwrap_or_else(|| {
            self.sections.push(Section {
                name: name.to_owned(),
                line,
                settings: Vec::new(),
                recursive: false,
                skip_children: false,
                children_only: false,
                path: None,
                templates: Vec::new(),
            });
            self.sections.len() - 1
        })
    }
}

impl Section {
    fn is_template(&self) -> bool {
        self.name.starts_with(TEMPLATE)
    }

    fn dataset(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }

    fn policy(&self, settings: Settings) -> Result<Policy, SanoidConfError> {
        let policy = Policy::new(&settings.counts, None, settings.schedule);
        let policy = policy.map_err(|source| SanoidConfError::Policy {
            line: self.line,
            section: self.name.clone(),
            source,
        })?;
        Ok(Policy {
            take: settings.take,
            prune: settings.prune,
            ..policy
        })
    }

    /// Takes a line in. What is worth telling of it, if anything.
    fn read(
        &mut self,
        key: &str,
        value: &str,
        line: usize,
    ) -> Result<Option<NoticeKind>, SanoidConfError> {
        let bad = |allowed| SanoidConfError::Value {
            line,
            key: key.to_owned(),
            value: value.to_owned(),
            allowed,
        };
        if let Some(setting) = Setting::read(key, value).map_err(bad)? {
            self.settings.push(setting);
            return Ok(None);
        }
        let switch = || setting::switch(value).ok_or("yes or no").map_err(bad);
        match key {
            "path" | "recursive" | "use_template" | "skip_children" | "process_children_only"
                if self.is_template() =>
            {
                return Ok(Some(NoticeKind::NotInTemplates));
            }
            // To snapshot all of them in one go makes no difference to one of them.
            "recursive" if value.eq_ignore_ascii_case("zfs") => self.recursive = true,
            "recursive" => {
                let recursive = setting::switch(value).ok_or("yes, no or zfs");
                self.recursive = recursive.map_err(bad)?;
            }
            "skip_children" => self.skip_children = switch()?,
            "process_children_only" => self.children_only = switch()?,
            "path" if value.is_empty() => return Err(bad("a dataset")),
            "path" => self.path = Some(value.to_owned()),
            "use_template" => {
                let names = value.split(',').map(|name| (name.trim().to_owned(), line));
                self.templates = names.collect();
            }
            _ if setting::is_not_used(key) => return Ok(Some(NoticeKind::NotUsed)),
            _ => return Ok(Some(NoticeKind::Unknown)),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
