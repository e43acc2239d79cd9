//! Profiles, good and bad.

use std::time::Duration;

use super::{Pacing, Profile, Rate};
use crate::load::builtin;

const SMALL: &str = r#"
    [mix]
    get = 3
    put = 1
    [sizes]
    "10KB" = 1
    [[phase]]
    name = "all"
    for = "5s"
    rate = [10, 20]
"#;

#[test]
fn small_profile_gets_the_defaults() {
    let profile = Profile::parse(SMALL).expect("it is a profile");
    assert_eq!((profile.pacing, profile.connections, profile.lasts()), (Pacing::Open, 64, Duration::from_secs(5)));
    assert_eq!(profile.phases[0].rate, Rate::Ramp([10.0, 20.0]));
}

#[test]
fn shares_add_up_to_the_whole() {
    let mut whole = Profile::parse(SMALL).expect("it is a profile");
    (whole.prefill, whole.connections) = (100, 50);
    let shares: Vec<_> = (0..3)
        .map(|index| {
            let mut share = whole.clone();
            share.share(index, 3);
            share
        })
        .collect();
    assert_eq!(shares.iter().map(|share| share.prefill).sum::<u64>(), 100);
    let clients: Vec<_> = shares.iter().map(|share| (share.first_client, share.connections)).collect();
    assert_eq!(clients, [(0, 17), (17, 17), (34, 16)]);
    let rate: f64 = shares.iter().map(|share| share.phases[0].rate.ends().1).sum();
    assert!((rate - 20.0).abs() < 1e-9);
}

#[test]
fn built_in_profiles_are_profiles() {
    for (name, text) in builtin::ALL {
        let profile = Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!profile.description.is_empty(), "{name} says what it is for");
    }
}

#[test]
fn what_is_wrong_is_told_with_what_is_right() {
    for (from, to, expect) in [
        ("get = 3", "fetch = 3", "unknown variant `fetch`"),
        ("rate = [10, 20]", "", "needs a rate"),
        ("rate = [10, 20]", "rate = -1", "from 0 to"),
        ("\"10KB\" = 1", "\"10 potatoes\" = 1", "10 potatoes"),
        ("for = \"5s\"", "for = \"5 parsecs\"", "no duration"),
        ("get = 3\n    put = 1", "get = 0", "at least one weight"),
        ("[mix]", "typo = 1\n[mix]", "unknown field `typo`"),
        ("[mix]", "[knee]\nfrom = 1\nto = 2\nfor = \"5s\"\np99_ms = 10\n[mix]", "either [[phase]], or [knee]"),
        ("[[phase]]\n    name = \"all\"\n    for = \"5s\"\n    rate = [10, 20]", "", "either [[phase]]"),
        (
            "[[phase]]\n    name = \"all\"\n    for = \"5s\"\n    rate = [10, 20]",
            "[knee]\nfrom = 5\nto = 2\nfor = \"5s\"\np99_ms = 10",
            "to is at least from",
        ),
    ] {
        assert!(SMALL.contains(from), "{from}");
        let error = Profile::parse(&SMALL.replace(from, to)).expect_err(to);
        assert!(error.contains(expect), "{to}: {error}");
    }
}

#[test]
fn what_a_profile_names_is_looked_for_beside_it() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let text = SMALL.replace("[sizes]\n    \"10KB\" = 1", "[sizes_of]\n    folder = \"data\"");
    let mut profile = Profile::parse(&text).expect("it is a profile");
    let error = profile.load(folder.path()).expect_err("there is no folder");
    assert!(error.contains("[sizes_of]") && error.contains("data"), "{error}");
    std::fs::create_dir(folder.path().join("data")).expect("made");
    std::fs::write(folder.path().join("data/a"), [0; 77]).expect("written");
    profile.load(folder.path()).expect("there is a file");
    assert_eq!(profile.sizes().of(1, 1).1, 77);

    let mut replay = Profile::parse("[trace]\nfile = \"t.csv\"").expect("it is a profile");
    let error = replay.load(folder.path()).expect_err("there is no file");
    assert!(error.contains("[trace]") && error.contains("t.csv"), "{error}");
    std::fs::write(folder.path().join("t.csv"), "at_s,operation,file,bytes\n1.5,put,a,7\n").expect("written");
    replay.load(folder.path()).expect("there is a trace");
    assert_eq!(replay.lasts(), Duration::from_millis(1500));
}
