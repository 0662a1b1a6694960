//! Everything below a path that is not `/`, as behind a balancer that passes paths on.

use elbow::server::Listener;
use elbow::settings::{ProxyMode, Settings, Trust};
use elbow::site::File;
use elbow::wire::base_path::BasePath;

use super::requests::UPGRADE;
use super::sessions::request;
use super::{World, frame, sid_of};

/// A server below this path, with a page, and a folder that has one.
fn below(path: &str) -> World {
    below_with(path, |_| {})
}

fn below_with(path: &str, change: impl FnOnce(&mut Settings)) -> World {
    let mut world = World::with(|settings| {
        settings.base_path = BasePath::parse(path).expect("a base path");
        change(settings);
    });
    let file = |path: &str| File { path: path.to_owned(), bytes: b"hello".to_vec() };
    let files = ["/index.html", "/style.css", "/sub/index.html"].map(file).to_vec();
    world.server.replace_files(world.now, files);
    world
}

const PATHS: [&str; 3] = ["/chat", "/apps/chat", "/a.b~c/ws"];

#[test]
fn everything_lies_below_the_base_path_and_nothing_beside_it() {
    let sockets = ["/", "/ws", "/ws/news", "/socket.io/?EIO=4&transport=websocket"];
    let files = ["/", "/index.html", "/style.css", "/sub/", "/socket.io/?EIO=4&transport=polling"];
    for base in PATHS {
        for (paths, fields, status) in [(&sockets[..], UPGRADE, "101"), (&files[..], "", "200")] {
            for path in paths {
                let ask = |target: &str| below(base).status(target, fields);
                assert_eq!(ask(&format!("{base}{path}")), status, "{base}{path}");
                assert_eq!(ask(&format!("http://h{base}{path}")), status, "{base}{path}");
                assert_eq!(ask(&format!("/%{:x}{}{path}", base.as_bytes()[1], &base[2..])), status);
                for elsewhere in [
                    format!("{base}x{path}"),
                    format!("/x{base}{path}"),
                    format!("/{base}{path}"),
                    format!("{base}%2fx/../..{path}"),
                    format!("{}{path}", base.to_ascii_uppercase()),
                ] {
                    assert_eq!(ask(&elsewhere), "404", "{elsewhere}");
                }
                assert_eq!(ask(path), "404", "{base}: {path}");
            }
        }
    }
}

#[test]
fn the_base_path_without_a_slash_leads_to_the_page_and_is_a_websocket_too() {
    for base in PATHS {
        let mut world = below(base);
        for (target, location) in [
            (base.to_owned(), format!("{base}/")),
            (format!("{base}?a=b&c"), format!("{base}/?a=b&c")),
            (format!("{base}/sub?x"), format!("{base}/sub/?x")),
        ] {
            let (status, heard) = world.answer(&request("GET", &target, ""));
            let expected = format!("\r\nLocation: {location}\r\n");
            assert!(status == "301" && heard.contains(&expected), "{target}: {heard}");
        }
        // Nobody who opens a WebSocket follows a redirect.
        assert_eq!(world.status(base, UPGRADE), "101");
        let (status, heard) = world.answer(&request("OPTIONS", base, ""));
        assert!(status == "204" && heard.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"));
        // Without a page it leads nowhere.
        let mut world = below(base);
        world.server.replace_files(world.now, Vec::new());
        assert_eq!(world.status(base, ""), "404");
        assert_eq!(world.status(&format!("{base}/"), ""), "404");
    }
}

#[test]
fn probes_are_answered_with_and_without_the_base_path() {
    for base in PATHS {
        for probe in ["/healthz", "/readyz"] {
            for target in [probe.to_owned(), format!("{base}{probe}")] {
                let mut world = below(base);
                assert_eq!(world.status(&target, ""), "200", "{target}");
                assert_eq!(world.answer(&request("OPTIONS", &target, "")).0, "204");
                assert_eq!(world.answer(&request("POST", &target, "")).0, "405");
                // A trusted prober that sends no PROXY header.
                let mut world = below_with(base, |settings| {
                    settings.proxy = ProxyMode::Required;
                    let networks = vec!["192.0.2.0/24".parse().expect("a network")];
                    settings.trust = Trust(networks);
                });
                assert_eq!(world.status(&target, ""), "200", "{target}");
                assert_eq!(world.status(&format!("{base}/"), ""), "");
            }
            assert_eq!(below(base).status(&format!("{base}{base}{probe}"), ""), "404");
            // The listener for probes has no base path.
            let mut world = below(base);
            for (target, status) in [(probe.to_owned(), "200"), (format!("{base}{probe}"), "404")] {
                let (client, id) = world.connect_to(Listener::Health, "192.0.2.1");
                world.say(&client, id, request("GET", &target, "").as_bytes());
                assert_eq!(client.heard().get(9..12), Some(status.as_bytes()), "{target}");
            }
        }
        // HAProxy's check, as it is without a word of the operator.
        let mut world = below(base);
        assert_eq!(world.answer("OPTIONS / HTTP/1.0\r\n\r\n").0, "204");
        assert_eq!(world.answer("OPTIONS * HTTP/1.0\r\n\r\n").0, "204");
        assert_eq!(world.answer("OPTIONS /x HTTP/1.0\r\n\r\n").0, "404");
    }
}

#[test]
fn a_session_is_named_below_the_base_path_in_its_cookie_and_in_the_log() {
    for (base, path) in [("/", "/"), ("/apps/chat", "/apps/chat/")] {
        let mut world = below(base);
        let prefix = path.strip_suffix('/').expect("it has one");
        let target = format!("{prefix}/socket.io/?EIO=3&transport=polling");
        let (client, id) = world.connect();
        world.say(&client, id, request("GET", &target, "").as_bytes());
        let heard = String::from_utf8(client.heard()).expect("text");
        let sid = sid_of(heard.as_bytes());
        let cookie = format!("\r\nSet-Cookie: io={sid}; Path={path}; HttpOnly\r\n");
        assert!(heard.contains(&cookie), "{heard}");
        let (publisher, publisher_id) = world.connect();
        world.say(&publisher, publisher_id, request("GET", path, UPGRADE).as_bytes());
        world.say(&client, id, request("GET", &format!("{target}&sid={sid}"), "").as_bytes());
        world.say(&publisher, publisher_id, &frame(1, b"hello"));
        assert!(String::from_utf8_lossy(&client.heard()).contains("hello"));
        let line = format!("GET {prefix}/socket.io/? HTTP/1.1");
        let lines = world.lines().filter(|access| access.line == line).count();
        assert_eq!(lines, 2, "the handshake and the poll");
    }
}

#[test]
fn a_prefix_that_a_request_names_is_not_believed() {
    let mut world = below("/");
    for name in ["X-Forwarded-Prefix", "X-Script-Name", "X-Forwarded-Path"] {
        let field = format!("{name}: /chat\r\n");
        assert_eq!(world.status("/chat/ws", &format!("{UPGRADE}{field}")), "404");
        let (_, heard) = world.answer(&request("GET", "/sub", &field));
        assert!(heard.contains("\r\nLocation: /sub/\r\n"), "{heard}");
    }
}
