//! What once went wrong with what a request's head says: who may speak, and how dear a head may be.

use super::{Client, World};
use elbow::id::ConnId;
use elbow::server::{Access, Event, Readiness};
use elbow::settings::{Settings, Trust};
use elbow::wire::host::Host;
use elbow::wire::origin::Origin;

/// The fields of a request to become a WebSocket.
pub(super) const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZWxib3ctdGVzdC1rZXktMQ==\r\n";

impl World {
    /// Asks on a connection of its own; the status of the answer.
    pub(super) fn status(&mut self, target: &str, fields: &str) -> String {
        self.answer(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).0
    }

    /// Sends a head on a connection of its own; the status of the answer, and all of it.
    pub(super) fn answer(&mut self, head: &str) -> (String, String) {
        let (client, id): (Client, ConnId) = self.connect();
        self.say(&client, id, head.as_bytes());
        let heard = String::from_utf8_lossy(&client.heard()).into_owned();
        (heard.get(9..12).unwrap_or_default().to_owned(), heard)
    }

    /// The lines that the log would have, one for each request.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &Access> {
        self.events.iter().filter_map(|event| {
            let Event::Request(access) = event else { return None };
            Some(access.as_ref())
        })
    }

    /// The client of the last request as the log would name it.
    pub(super) fn last_client(&self) -> String {
        self.lines().next_back().expect("a request has a line").client.to_string()
    }
}

#[test]
fn an_image_or_a_link_on_a_foreign_page_opens_no_session() {
    let list = |settings: &mut Settings| {
        settings.origins = vec![Origin::parse("https://page.example").expect("an origin")];
    };
    let foreign = "Sec-Fetch-Site: cross-site\r\n";
    let sockets = ["/", "/ws", "/ws/news", "/socket.io/?EIO=4&transport=websocket"];
    let polls = [
        "/socket.io/?EIO=3&transport=polling",
        "/socket.io/?EIO=4&transport=polling",
        "/socket.io?EIO=4&transport=polling",
    ];
    let handshakes = sockets
        .map(|target| (target, UPGRADE, "101"))
        .into_iter()
        .chain(polls.into_iter().map(|target| (target, "", "200")));
    for (target, fields, opened) in handshakes {
        let ask = |more: &str| {
            let mut world = World::with(list);
            let status = world.status(target, &format!("{fields}{more}"));
            assert_eq!(world.server.sessions(), usize::from(status == opened), "{target} {more}");
            status
        };
        for refused in [
            foreign,
            "sec-fetch-site: Cross-Site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-origin, cross-site\r\n",
            &format!("{foreign}Referer: https://page.example/\r\n"),
            &format!("{foreign}Origin: null\r\n"),
            &format!("{foreign}Origin: \r\n"),
            &format!("{foreign}Origin: https://evil.example\r\n"),
            &format!("{foreign}Origin: https://page.example\r\nOrigin: https://page.example\r\n"),
        ] {
            assert_eq!(ask(refused), "403", "{target} {refused}");
        }
        for allowed in [
            "",
            "Sec-Fetch-Site: none\r\n",
            "Sec-Fetch-Site: same-origin\r\n",
            "Sec-Fetch-Site: same-site\r\n",
            "Sec-Fetch-Site: what-comes-after\r\n",
            &format!("{foreign}Origin: https://page.example\r\n"),
            // TLS ends in front: what the browser takes for another site may be this one.
            &format!("{foreign}Origin: https://h\r\n"),
        ] {
            assert_eq!(ask(allowed), opened, "{target} {allowed}");
        }
    }
}

#[test]
fn who_is_refused_as_foreign_hears_it_as_the_path_speaks_and_has_a_line() {
    let mut world = World::new();
    let mut ask = |method: &str, target: &str, fields: &str| {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}");
        let (_, heard) = world.answer(&format!("{head}Sec-Fetch-Site: cross-site\r\n\r\n"));
        heard
    };
    let said = ask("GET", "/ws", UPGRADE);
    assert!(said.ends_with("\r\n\r\npages of this origin may not connect here"), "{said}");
    let said = ask("GET", "/socket.io/?EIO=4&transport=websocket", UPGRADE);
    assert!(said.ends_with("\r\n\r\nForbidden"), "{said}");
    let forbidden = "\r\n\r\n{\"code\":4,\"message\":\"Forbidden\"}";
    let known = "/socket.io/?EIO=4&transport=polling&sid=ExnPvMFcmbm6WPGeAAAA";
    for (method, target) in [
        ("GET", "/socket.io/?EIO=3&transport=polling"),
        ("GET", "/socket.io/"),
        ("GET", known),
        ("POST", known),
    ] {
        let said = ask(method, target, "Content-Length: 0\r\n");
        assert!(said.starts_with("HTTP/1.1 403 ") && said.ends_with(forbidden), "{said}");
    }
    // What is no session is anybody's: a link to the page, a probe.
    for (target, status) in [("/", "404"), ("/ws", "426"), ("/healthz", "200"), ("/x", "404")] {
        let said = ask("GET", target, "");
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {said}");
    }
    assert_eq!(world.lines().filter(|access| access.status == 403).count(), 6);
}

#[test]
fn a_foreign_page_that_has_a_sessions_id_does_not_speak_for_it() {
    let mut world = World::new();
    let (_, heard) =
        world.answer("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n");
    let sid = super::sid_of(heard.as_bytes());
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(world.status(&target, "Sec-Fetch-Site: cross-site\r\n"), "403");
    let upgrade = format!("{UPGRADE}Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(world.status(&target.replace("polling", "websocket"), &upgrade), "403");
    let post = format!("POST {target} HTTP/1.1\r\nHost: h\r\nSec-Fetch-Site: cross-site\r\n");
    assert_eq!(world.answer(&format!("{post}Content-Length: 2\r\n\r\n40")).0, "403");
    assert_eq!(world.server.sessions(), 1);
    let post = format!("POST {target} HTTP/1.1\r\nHost: h\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(world.answer(&format!("{post}Content-Length: 2\r\n\r\n40")).0, "200");
}

#[test]
fn a_server_that_has_names_answers_to_no_other() {
    let named = |settings: &mut Settings| {
        let hosts = ["chat.example", "[::1]", "192.0.2.7"];
        settings.hosts = hosts.map(|host| Host::parse(host).expect("a host")).to_vec();
    };
    let ask = |line: &str, fields: &str| {
        let mut world = World::with(named);
        let (status, heard) = world.answer(&format!("{line}\r\n{fields}\r\n"));
        assert_eq!(world.server.sessions(), usize::from(status == "101"));
        (status, heard)
    };
    let status = |line: &str, fields: &str| ask(line, fields).0;
    for host in ["chat.example", "CHAT.Example.:3000", "[0::1]", "[::1]:80", "192.0.2.7:3000"] {
        let host = format!("Host: {host}\r\n");
        assert_eq!(status("GET /x HTTP/1.1", &host), "404", "{host}");
        assert_eq!(status("GET /ws HTTP/1.1", &format!("{host}{UPGRADE}")), "101", "{host}");
        assert_eq!(status("GET http://evil.example/x HTTP/1.1", &host), "421", "{host}");
    }
    for host in
        ["evil.example", "chat.example.evil.example", "a.chat.example", "[::2]", "192.0.2.8"]
    {
        let origin = format!("Host: {host}:3000\r\nOrigin: http://{host}:3000\r\n");
        for target in ["/", "/ws", "/ws/news", "/socket.io/?EIO=4&transport=websocket"] {
            let line = format!("GET {target} HTTP/1.1");
            assert_eq!(status(&line, &format!("{origin}{UPGRADE}")), "421", "{host} {target}");
        }
        assert_eq!(status("GET /socket.io/?EIO=4&transport=polling HTTP/1.1", &origin), "421");
        assert_eq!(status("POST /socket.io/?EIO=4&transport=polling HTTP/1.1", &origin), "421");
        assert_eq!(status("OPTIONS /ws HTTP/1.1", &origin), "421");
        // HAProxy's check, which learns nothing but that somebody is there.
        for check in ["OPTIONS *", "OPTIONS /"] {
            assert_eq!(status(&format!("{check} HTTP/1.1"), &origin), "204");
            assert_eq!(status(&format!("{check} HTTP/1.0"), ""), "204");
        }
        assert_eq!(status("GET http://chat.example:81/x HTTP/1.1", &origin), "404");
        for probe in ["/healthz", "/readyz"] {
            assert_eq!(status(&format!("GET {probe} HTTP/1.1"), &origin), "200");
            assert_eq!(status(&format!("HEAD {probe} HTTP/1.0"), ""), "200");
            assert_eq!(status(&format!("POST {probe} HTTP/1.1"), &origin), "405");
        }
    }
    assert_eq!(status("GET /x HTTP/1.0", ""), "421");
    assert_eq!(status("GET /x HTTP/1.0", "Host: chat.example\r\n"), "404");
    assert_eq!(status("GET /x HTTP/1.1", ""), "400");
    assert_eq!(status("GET /x HTTP/1.1", "Host: chat.example\r\nHost: chat.example\r\n"), "400");
    let (_, heard) = ask("GET /x HTTP/1.1", "Host: evil.example\r\n");
    assert!(heard.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\nthis server has another name"), "{heard}");
}

#[test]
fn who_the_client_is_behind_a_balancer_costs_a_few_addresses_however_many_are_claimed() {
    let trust = |settings: &mut Settings| {
        settings.forwarded_for = true;
        let networks = ["192.0.2.0/24", "10.0.0.0/8"];
        settings.trust =
            Trust(networks.map(|network| network.parse().expect("a network")).to_vec());
    };
    let trusted = |count| vec!["10.0.0.1"; count].join(", ");
    let cases = [
        ("203.0.113.9", "203.0.113.9:0"),
        ("203.0.113.9:4711, 10.0.0.3", "203.0.113.9:4711"),
        ("198.51.100.1, 203.0.113.9, 10.0.0.3", "203.0.113.9:0"),
        ("198.51.100.1, nonsense, 10.0.0.3", "10.0.0.3:0"),
        ("10.0.0.2, 10.0.0.3", "10.0.0.2:0"),
        (",,10.0.0.2,,, 10.0.0.3 ,,", "10.0.0.2:0"),
        ("203.0.113.9, nonsense", "192.0.2.1:1234"),
        (",,,", "192.0.2.1:1234"),
        // As many as are looked at, and one more.
        (&format!("203.0.113.9, {}", trusted(15)), "203.0.113.9:0"),
        (&format!("203.0.113.9, {}", trusted(16)), "10.0.0.1:0"),
        (&format!("{}203.0.113.9", "::1,".repeat(4_000)), "203.0.113.9:0"),
    ];
    for (claimed, client) in cases {
        let mut world = World::with(trust);
        world.status("/", &format!("X-Forwarded-For: {claimed}\r\n"));
        assert_eq!(world.last_client(), client, "{claimed}");
        // In several fields as in one.
        let mut world = World::with(trust);
        let fields = claimed.replace(',', "\r\nX-Forwarded-For: ");
        if fields.lines().count() < 90 {
            world.status("/", &format!("X-Forwarded-For: {fields}\r\n"));
            assert_eq!(world.last_client(), client, "{claimed}");
        }
    }
}

#[test]
fn an_origin_that_is_too_long_for_a_name_is_nobodys() {
    let list = |settings: &mut Settings| {
        settings.origins = vec![Origin::parse("https://page.example").expect("an origin")];
    };
    let long = "a".repeat(15_000);
    for path in ["/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let ask = |origin: &str, host: &str| {
            let fields = format!("Host: {host}\r\nOrigin: {origin}\r\n{UPGRADE}");
            World::with(list).answer(&format!("GET {path} HTTP/1.1\r\n{fields}\r\n")).0
        };
        assert_eq!(ask("https://page.example", "h"), "101");
        assert_eq!(ask("https://h", "h"), "101");
        assert_eq!(ask(&format!("https://{long}"), "h"), "403");
        assert_eq!(ask(&format!("https://{}", &long[..7_000]), &long[..7_000]), "403");
    }
}

#[test]
fn extensions_that_fill_a_head_are_not_read() {
    let offer = |bytes: usize| {
        let extensions = "a;b=c,".repeat(bytes / 6);
        World::new().status("/ws", &format!("{UPGRADE}Sec-WebSocket-Extensions: {extensions}\r\n"))
    };
    assert_eq!(offer(2_040), "101");
    assert_eq!(offer(15_000), "101");
}

#[test]
fn tabs_are_white_space_in_fields_and_nothing_else() {
    let ask = |line: &str, field: &str| {
        World::new().answer(&format!("{line}\r\nHost: h\r\nX:{field}\r\n\r\n")).0
    };
    assert_eq!(ask("GET /healthz HTTP/1.1", &"\t".repeat(16_000)), "200");
    assert_eq!(ask("GET /healthz HTTP/1.1", &"\ta".repeat(8_000)), "200");
    for line in ["GET\t/healthz HTTP/1.1", "GET /healthz\tHTTP/1.1", "\tGET /healthz HTTP/1.1"] {
        assert_eq!(ask(line, ""), "400", "{line}");
    }
    assert_eq!(ask("GET /healthz HTTP/1.1\t", ""), "400");
}

#[test]
fn a_read_that_stops_in_front_of_urgent_data_is_followed_by_another() {
    let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    for more_behind in [true, false] {
        let mut world = World::new();
        let (client, id) = world.connect();
        {
            let mut wire = client.0.borrow_mut();
            wire.to_server.extend(request);
            wire.mark = more_behind.then_some(16);
        }
        let told = Readiness { readable: true, more_behind, writable: true };
        world.ready(id, told);
        world.settle();
        assert!(client.heard().starts_with(b"HTTP/1.1 200 "));
        // It is read until there is nothing; for whoever sends none, one read is enough.
        assert_eq!(client.0.borrow().reads, if more_behind { 3 } else { 1 });
    }
}
