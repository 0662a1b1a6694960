//! How clients move a session from polls to a WebSocket: with a probe or, as .NET's does unless it
//! is told otherwise, without.

use super::requests::UPGRADE;
use super::sessions::request;
use super::{Client, World, frame, sid_of};
use elbow::id::ConnId;

/// A session that polls, and is in the default channel.
struct Polling {
    version: u8,
    target: String,
    client: Client,
    id: ConnId,
}

impl Polling {
    fn begin(world: &mut World, version: u8) -> Polling {
        let (client, id) = world.connect();
        let target = format!("/socket.io/?EIO={version}&transport=polling");
        world.request(&client, id, "GET", &target, "");
        let target = format!("{target}&sid={}", sid_of(&client.heard()));
        let polling = Polling { version, target, client, id };
        if version == 4 {
            polling.post(world, "40");
            polling.poll(world);
            assert!(polling.heard().contains("HTTP/1.1 200 "));
        }
        polling
    }

    fn poll(&self, world: &mut World) {
        world.say(&self.client, self.id, request("GET", &self.target, "").as_bytes());
    }

    fn post(&self, world: &mut World, packet: &str) {
        let (client, id) = world.connect();
        world.request(&client, id, "POST", &self.target, &self.body(packet));
        assert!(client.heard().ends_with(b"\r\n\r\nok"));
    }

    /// A body with one packet.
    fn body(&self, packet: &str) -> String {
        match self.version {
            3 => format!("{}:{packet}", packet.chars().count()),
            _ => packet.to_owned(),
        }
    }

    fn heard(&self) -> String {
        String::from_utf8(self.client.heard()).expect("text")
    }

    /// A WebSocket that wants to take the session over.
    fn socket(&self, world: &mut World) -> (Client, ConnId) {
        world.upgrade(&self.target.replace("transport=polling", "transport=websocket"))
    }
}

/// What ends an upgrade. What stands behind the type means nothing.
const LAST_STEPS: [&str; 3] = ["5", "52", "5probe"];

#[test]
fn an_upgrade_may_be_finished_without_a_probe() {
    for version in [3, 4] {
        for last_step in LAST_STEPS {
            let mut world = World::new();
            let session = Polling::begin(&mut world, version);
            let (publisher, publisher_id) = world.session();
            let (socket, id) = session.socket(&mut world);
            // It is said to nobody's poll, and goes where the session goes.
            world.say(&publisher, publisher_id, &frame(1, b"one"));
            world.say(&socket, id, &frame(1, last_step.as_bytes()));
            world.say(&publisher, publisher_id, &frame(1, b"two"));
            let (one, two) = ("42[\"chat message\",\"one\"]", "42[\"chat message\",\"two\"]");
            let heard = String::from_utf8_lossy(&socket.heard()).into_owned();
            let places = [one, two].map(|text| heard.find(text).expect("nothing is lost"));
            assert!(places[0] < places[1], "{version} {last_step}");
            world.say(&socket, id, &frame(1, b"42[\"chat message\",\"me\"]"));
            assert!(publisher.heard().ends_with(b"\x81\x02me"));
            // There are no polls any more.
            session.poll(&mut world);
            assert!(session.heard().starts_with("HTTP/1.1 400 "));
        }
    }
}

#[test]
fn a_poll_that_is_held_comes_back_when_an_upgrade_is_finished_without_a_probe() {
    for (version, noop) in [(3, "1:6"), (4, "6")] {
        for last_step in LAST_STEPS {
            let mut world = World::new();
            let session = Polling::begin(&mut world, version);
            session.poll(&mut world);
            assert_eq!(session.heard(), "", "it is held");
            let (socket, id) = session.socket(&mut world);
            assert_eq!(session.heard(), "", "and stays so until the WebSocket says something");
            world.say(&socket, id, &frame(1, last_step.as_bytes()));
            let heard = session.heard();
            assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
            assert!(heard.ends_with(&format!("\r\n\r\n{noop}")), "{version}: {heard}");
            assert_eq!(world.server.sessions(), 1);
            let (publisher, publisher_id) = world.session();
            world.say(&publisher, publisher_id, &frame(1, b"hello"));
            assert!(socket.heard().ends_with(b"42[\"chat message\",\"hello\"]"));
        }
    }
}

#[test]
fn a_post_under_way_is_told_not_to_have_come_when_an_upgrade_does_not_wait_for_it() {
    for version in [3, 4] {
        let mut world = World::new();
        let session = Polling::begin(&mut world, version);
        let (post, post_id) = world.connect();
        let fields = "Content-Length: 100\r\n";
        let head = request("POST", &session.target, fields);
        world.say(&post, post_id, format!("{head}42[").as_bytes());
        let (socket, id) = session.socket(&mut world);
        world.say(&socket, id, &frame(1, b"5"));
        assert!(post.heard().starts_with(b"HTTP/1.1 400 "));
        world.say(&socket, id, &frame(1, b"421[\"chat message\",\"hello\"]"));
        let heard = String::from_utf8_lossy(&socket.heard()).into_owned();
        assert!(heard.contains("431[]"), "{version}: {heard}");
    }
}

#[test]
fn what_is_no_step_of_an_upgrade_ends_it_and_not_the_session() {
    for version in [3, 4] {
        for first in ["2", "2prob", "3probe", "40", "42[\"chat message\",\"x\"]", "6", "1"] {
            let mut world = World::new();
            let session = Polling::begin(&mut world, version);
            let (socket, id) = session.socket(&mut world);
            world.say(&socket, id, &frame(1, first.as_bytes()));
            assert_eq!(socket.heard(), b"\x88\x10\x03\xeaprotocol error", "{version} {first}");
            session.post(&mut world, "421[\"chat message\",\"hello\"]");
            session.poll(&mut world);
            assert!(session.heard().contains("431[]"), "{version} {first}");
        }
    }
}

#[test]
fn an_upgrade_is_finished_once() {
    for version in [3, 4] {
        for steps in [&["5", "5"][..], &["2probe", "5", "5"]] {
            let mut world = World::new();
            let session = Polling::begin(&mut world, version);
            let (socket, id) = session.socket(&mut world);
            for step in steps {
                world.say(&socket, id, &frame(1, step.as_bytes()));
            }
            let heard = socket.heard();
            assert!(heard.ends_with(b"\x88\x10\x03\xeaprotocol error"), "{version} {steps:?}");
            assert_eq!(heard.starts_with(b"\x81\x063probe"), steps.len() == 3);
        }
    }
}

#[test]
fn a_client_that_cannot_take_binary_is_told_that_it_gets_no_websocket() {
    let told = "Base64 is for polling: b64 (forceBase64) does without a WebSocket";
    for version in [3, 4] {
        for b64 in ["b64=1", "b64=true", "b64=0", "b%364=1", "b64=&b64=1"] {
            let mut world = World::new();
            let target = format!("/socket.io/?EIO={version}&transport=websocket&{b64}");
            let (status, heard) = world.answer(&request("GET", &target, UPGRADE));
            assert!(status == "400" && heard.ends_with(&format!("\r\n\r\n{told}")), "{heard}");
            let (status, heard) = world.answer(&request("GET", &target, ""));
            let body = format!("\r\n\r\n{{\"code\":3,\"message\":\"{told}\"}}");
            assert!(status == "400" && heard.ends_with(&body), "{heard}");
            assert_eq!(world.server.sessions(), 0);
            // One that polls stays with polls, for which base64 is what there is.
            let session = Polling::begin(&mut world, version);
            let target = session.target.replace("transport=polling", "transport=websocket");
            let target = format!("{target}&{b64}");
            assert_eq!(world.answer(&request("GET", &target, UPGRADE)).0, "400");
            let (publisher, publisher_id) = world.session();
            world.say(&publisher, publisher_id, &frame(2, &[1, 2, 3]));
            session.poll(&mut world);
            let attachment = if version == 3 { "6:b4AQID" } else { "\u{1e}bAQID" };
            assert!(session.heard().contains(attachment), "{version}");
        }
        for other in ["b64", "b64=", "b64=1&b64=", "B64=1", "b=64"] {
            let mut world = World::new();
            world.upgrade(&format!("/socket.io/?EIO={version}&transport=websocket&{other}"));
        }
    }
}

#[test]
fn a_client_that_wants_scripts_for_answers_is_told_that_there_are_none() {
    let told = "JSONP is not offered: forceJSONP, or a browser without CORS, fails";
    for version in [3, 4] {
        for j in ["j=0", "j=", "j", "%6A=12"] {
            let mut world = World::new();
            let target = format!("/socket.io/?EIO={version}&transport=polling&{j}");
            let (status, heard) = world.answer(&request("GET", &target, ""));
            let body = format!("\r\n\r\n{{\"code\":3,\"message\":\"{told}\"}}");
            assert!(status == "400" && heard.ends_with(&body), "{heard}");
            assert_eq!(world.server.sessions(), 0);
            let session = Polling::begin(&mut world, version);
            let target = format!("{}&{j}", session.target);
            assert_eq!(world.answer(&request("GET", &target, "")).0, "400");
            assert_eq!(world.server.sessions(), 1, "the session is still there");
        }
        // The parameter is one of polls; elsewhere, and in other names, it is the application's.
        let mut world = World::new();
        world.upgrade(&format!("/socket.io/?EIO={version}&transport=websocket&j=0"));
        for other in ["J=0", "j0=", "jj=0", "x=j"] {
            let target = format!("/socket.io/?EIO={version}&transport=polling&{other}");
            assert_eq!(World::new().answer(&request("GET", &target, "")).0, "200", "{other}");
        }
    }
}
