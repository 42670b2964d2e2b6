use super::*;

const FILE: &str = "\
# what many have
[tank/containers]
\tuse_template = production
\trecursive = yes
\tprocess_children_only = yes

[tank/containers/db]
\tuse_template = production, quiet
\thourly = 96

[tank/containers/scratch]
\tuse_template = ignore

[tank/backup]
\tuse_template = backup
\trecursive = zfs

[template_production]
\tfrequently = 0
\thourly = 36
\tdaily = 30
\tmonthly = 3
\tautosnap = yes
\tautoprune = yes
; in the small hours
\tdaily_hour = 3
\tdaily_min = 5
\tweekly_wday = 0

[template_quiet]
\thourly_min = 30

[template_backup]
\tautosnap = no
\thourly_warn = 0

[template_ignore]
\tautoprune = no
\tautosnap = no
\tmonitor = no
";

fn conf() -> SanoidConf {
    SanoidConf::parse(FILE).unwrap()
}

fn policy_of(dataset: &str) -> Option<Policy> {
    conf().policy_of(dataset).unwrap()
}

#[test]
fn a_dataset_beneath_a_recursive_section_has_what_that_says() {
    let web = policy_of("tank/containers/web").unwrap();
    assert_eq!(web.to_string(), "frequently=0,hourly=36,daily=30,monthly=3");
    assert_eq!(web.schedule.daily, (3, 5));
    assert_eq!(web.schedule.weekly, (7, (23, 30)), "0 is Sunday");
    assert!(web.take && web.prune);
    assert_eq!(policy_of("tank/containers"), None, "its children only");
    assert_eq!(policy_of("tank/containers2"), None);
    assert_eq!(policy_of("tank"), None);
}

#[test]
fn a_section_is_made_of_defaults_its_templates_in_their_order_and_itself() {
    let db = policy_of("tank/containers/db").unwrap();
    assert_eq!(db.to_string(), "frequently=0,hourly=96,daily=30,monthly=3");
    assert_eq!((db.schedule.hourly_min, db.schedule.daily), (30, (3, 5)));
    let scratch = policy_of("tank/containers/scratch").unwrap();
    assert!(!scratch.take && !scratch.prune);
    let backup = policy_of("tank/backup/web").unwrap();
    assert_eq!(
        backup.to_string(),
        "frequently=0,hourly=48,daily=90,monthly=6"
    );
    assert!(!backup.take && backup.prune);
}

#[test]
fn a_recursive_section_replaces_what_an_earlier_one_said_of_a_child() {
    let text = "[tank/a]\ndaily = 3\n[tank]\nrecursive = yes\ndaily = 7\n[tank/a/b]\nhourly = 1\n";
    let conf = SanoidConf::parse(text).unwrap();
    let daily = |dataset| conf.policy_of(dataset).unwrap().unwrap().to_string();
    assert_eq!(daily("tank/a"), "frequently=0,hourly=48,daily=7,monthly=6");
    assert_eq!(daily("tank/a/b"), "frequently=0,hourly=1,daily=7,monthly=6");
    let skipping = format!("{text}[tank/a/b/c]\nskip_children = yes\n");
    let conf = SanoidConf::parse(&skipping).unwrap();
    assert_eq!(conf.policy_of("tank/a/b/c/d").unwrap(), None);
    assert!(conf.policy_of("tank/a/b/c").unwrap().is_some());
}

#[test]
fn a_template_is_a_policy_over_sanoids_defaults() {
    let conf = conf();
    let names: Vec<_> = conf.templates().collect();
    assert_eq!(names, ["production", "quiet", "backup", "ignore"]);
    let quiet = conf.template("quiet").unwrap();
    assert_eq!(
        quiet.to_string(),
        "frequently=0,hourly=48,daily=90,monthly=6"
    );
    let text = "[template_default]\nmonthly = 0\n[template_a]\nyearly = 2\n";
    let conf = SanoidConf::parse(text).unwrap();
    let a = conf.template("a").unwrap();
    assert_eq!(
        a.to_string(),
        "frequently=0,hourly=48,daily=90,monthly=0,yearly=2"
    );
    let error = conf.template("b").unwrap_err();
    assert_eq!(error.to_string(), "it has no [template_b]");
}

#[test]
fn keys_without_effect_are_named_with_their_lines() {
    let text =
        "[tank]\nhourley = 3\nmonitor = no\ndaily_warn = 28h\n[template_a]\nrecursive = yes\n";
    let conf = SanoidConf::parse(text).unwrap();
    let notices: Vec<_> = conf.notices().iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "line 2: \"hourley\" is unknown",
            "line 3: monitor has no effect here",
            "line 4: daily_warn has no effect here",
            "line 6: recursive has no effect in a template",
        ]
    );
}

#[test]
fn what_cannot_be_understood_is_an_error_with_its_line() {
    for (text, error) in [
        (
            "hourly = 1",
            "line 1: hourly stands before the first [SECTION]",
        ),
        ("[tank", "line 1: neither [SECTION] nor KEY = VALUE"),
        ("[ ]", "line 1: neither [SECTION] nor KEY = VALUE"),
        (
            "[tank]\n\nhourly",
            "line 3: neither [SECTION] nor KEY = VALUE",
        ),
        ("[tank]\n= 3", "line 2: neither [SECTION] nor KEY = VALUE"),
        (
            "[tank]\nhourly = -1",
            "line 2: hourly is \"-1\", and must be a number from 0 to 4294967295",
        ),
        (
            "[tank]\r\nhourly = 4294967296\r\n",
            "line 2: hourly is \"4294967296\", and must be a number from 0 to 4294967295",
        ),
        (
            "[tank]\nhourly =",
            "line 2: hourly is \"\", and must be a number from 0 to 4294967295",
        ),
        (
            "[tank]\ndaily_hour = 24",
            "line 2: daily_hour is \"24\", and must be 0 to 23",
        ),
        (
            "[tank]\nfrequent_period = 0",
            "line 2: frequent_period is \"0\", and must be 1 to 60",
        ),
        (
            "[tank]\nautosnap = maybe",
            "line 2: autosnap is \"maybe\", and must be yes or no",
        ),
        (
            "[tank]\nrecursive = deep",
            "line 2: recursive is \"deep\", and must be yes, no or zfs",
        ),
        (
            "[tank]\nuse_template = a, b\n[template_a]",
            "line 2: there is no [template_b]",
        ),
        (
            "[tank]\nhourly = 1\n[a]\n[tank]\nhourly = 2",
            "line 5: hourly is in [tank] already",
        ),
    ] {
        assert_eq!(SanoidConf::parse(text).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_section_that_would_keep_nothing_is_an_error_when_it_is_asked_for() {
    let text = "[a]\n[tank]\nhourly = 0\ndaily = 0\nmonthly = 0\n";
    let conf = SanoidConf::parse(text).unwrap();
    assert!(conf.policy_of("a").unwrap().is_some());
    let error = conf.policy_of("tank").unwrap_err();
    assert_eq!(error.to_string(), "line 2: [tank]: it would keep nothing");
}
