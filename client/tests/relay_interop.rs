//! The whole path over a relay that others wrote: nostr-rs-relay, when its binary is named in FEDAI_NOSTR_RS_RELAY.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "a test reads the environment that it was started in")]

mod network;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use network::{Streaming, World, expected_answer, json};

/// The foreign relay; killed at the end.
struct ForeignRelay(Child);

impl Drop for ForeignRelay {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(world: &World, program: &str) -> (ForeignRelay, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = world.path().join("foreign");
    std::fs::create_dir(&folder).unwrap();
    let config = format!(
        "[info]\nrelay_url = \"ws://127.0.0.1:{port}/\"\nname = \"test\"\n\
         [database]\ndata_directory = \"{}\"\n[network]\nport = {port}\naddress = \"127.0.0.1\"\n\
         [limits]\nmax_event_bytes = 131072\nmax_ws_message_bytes = 262144\nmax_ws_frame_bytes = 262144\n",
        folder.display()
    );
    let path = folder.join("config.toml");
    std::fs::write(&path, config).unwrap();
    let log = std::fs::File::create(world.log("foreign")).unwrap();
    let child = Command::new(program)
        .args(["--config", &path.display().to_string(), "--db", &folder.display().to_string()])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    network::wait_for("the foreign relay", || TcpStream::connect(("127.0.0.1", port)).ok());
    (ForeignRelay(child), format!("ws://127.0.0.1:{port}"))
}

#[test]
fn a_chat_streams_over_nostr_rs_relay() {
    let Ok(program) = std::env::var("FEDAI_NOSTR_RS_RELAY") else {
        println!("skipped: FEDAI_NOSTR_RS_RELAY does not name a nostr-rs-relay binary");
        return;
    };
    let mut world = World::new();
    let (_relay, url) = start(&world, &program);
    world.router(&[&url]);
    world.node("node-a", &[&url], "mock://local?tokens=30&token_ms=20");
    world.wait_for_nodes(&[&url], 1);
    let mut streaming = Streaming::start(world.client(&[&url], &["chat", "hello"]), world.log("client"));
    streaming.wait_for_output(1);
    let (code, stdout, stderr) = streaming.finish();
    assert_eq!((code, stdout), (0, format!("{}\n", expected_answer("hello", 30))), "{stderr}");
    let answer = json(&world.client(&[&url], &["chat", "--json", "again"]).output().unwrap());
    assert_eq!(answer["verified"], true);
}
