//! `relays.toml`: what is accepted, and where exactly an error is said to be.

use super::*;

const GOOD: &str = r#"
[network]
name = "test"

[[relay]]
url = "wss://one.example/"
roles = ["discovery"]
events_per_minute = 30

[[relay]]
url = "ws://127.0.0.1:7447"
roles = ["control", "stream"]
write = false
max_event_bytes = 32768

[policy]
min_acks = 2
publish_timeout_ms = 1500
"#;

#[test]
fn a_whole_file_is_read() {
    let list = RelayList::parse(GOOD, "relays.toml").unwrap();
    assert_eq!(list.network, "test");
    assert_eq!(list.urls(RelayRole::Discovery), ["wss://one.example"]);
    assert_eq!(list.urls(RelayRole::Stream), ["ws://127.0.0.1:7447"]);
    assert_eq!(list.relays[0].events_per_minute, Some(30));
    assert!(!list.relays[1].write && list.relays[1].read);
    assert_eq!(list.relays[1].max_event_bytes, 32_768);
    assert_eq!(list.policy.min_acks, 2);
    assert_eq!(list.policy.publish_timeout, Duration::from_millis(1_500));
}

#[test]
fn every_error_names_its_line_and_column() {
    let check = |text: &str, at: &str, contains: &str| {
        let error = RelayList::parse(text, "relays.toml").unwrap_err().to_string();
        assert!(error.starts_with(at), "{text:?}: {error}");
        assert!(error.contains(contains), "{error}");
        assert!(error.contains("\nhint: "), "{error}");
    };
    let relay = "[[relay]]\nurl = \"ws://127.0.0.1:1\"\n";
    check("[[relay]\n", "relays.toml:1:", "");
    check("[[relay]]\nurl = \"http://x\"\nroles = [\"stream\"]\n", "relays.toml:2:7: ", "ws");
    check(&format!("{relay}roles = [\"steam\"]\n"), "relays.toml:3:10: ", "steam");
    check(&format!("{relay}roles = []\n"), "relays.toml:2:7: ", "no role");
    check(&format!("{relay}roles = [\"stream\"]\nbudget = 3\n"), "relays.toml:4:1: ", "budget");
    check(&format!("{relay}roles = [\"stream\"]\nread = 3\n"), "relays.toml:4:8: ", "bool");
    check(
        &format!("{relay}roles = [\"stream\"]\nevents_per_minute = 0\n"),
        "relays.toml:2:7: ",
        "events_per_minute",
    );
    check(
        &format!("{relay}roles = [\"stream\"]\nmax_event_bytes = 99\n"),
        "relays.toml:2:7: ",
        "max_event_bytes",
    );
    check(
        &format!("{relay}roles = [\"stream\"]\n{relay}roles = [\"stream\"]\n"),
        "relays.toml:5:7: ",
        "twice",
    );
    check(
        &format!("{relay}roles = [\"stream\"]\n[policy]\nmin_acks = 0\n"),
        "relays.toml:5:12: ",
        "min_acks",
    );
    check("", "relays.toml:1:1: ", "names no relay");
}

#[test]
fn the_nearest_place_wins() {
    let dir = tempfile::tempdir().unwrap();
    let (here, user) = (dir.path().join("relays.toml"), dir.path().join("user.toml"));
    let flag = ["ws://flag:1".to_owned()];
    let source = |flags: &[String], environment| {
        RelayList::lookup_in(flags, environment, &here, &user)
            .map(|(list, from)| (list.relays[0].url.clone(), from))
    };
    assert!(source(&[], None).unwrap_err().to_string().contains("hint: pass --relay"));
    std::fs::write(&user, GOOD).unwrap();
    assert_eq!(source(&[], Some(" ")).unwrap().0, "wss://one.example");
    std::fs::write(&here, GOOD.replace("one.example", "two.example")).unwrap();
    assert_eq!(source(&[], None).unwrap().0, "wss://two.example");
    assert_eq!(
        source(&[], Some("ws://env:2, ws://more:3")).unwrap(),
        ("ws://env:2".into(), "FEDAI_RELAYS".into())
    );
    assert_eq!(source(&flag, Some("ws://env:2")).unwrap(), ("ws://flag:1".into(), "--relay".into()));
}

#[test]
fn the_file_of_the_project_is_valid() {
    let list = RelayList::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../relays.toml"))).unwrap();
    assert_eq!(list.relays[0].url, "ws://127.0.0.1:7447");
    assert_eq!(list.relays[0].roles.len(), 3);
}
