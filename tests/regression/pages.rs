//! Pages of other origins: what their browsers ask, and what they are told (CORS).

use super::clients::listing;
use super::sessions::{POLLING, request};
use super::{World, frame, halves, sid_of};
use elbow::site::{File, Site};
use elbow::time::Duration;

/// The values of all fields called `name`.
fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let fields = answer.lines().skip(1).take_while(|line| !line.is_empty());
    let named = fields.filter_map(|line| line.split_once(": "));
    named.filter(|(each, _)| each.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// What an answer lets the page of some origin do.
fn grant(answer: &str) -> [Vec<&str>; 3] {
    let names = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"];
    names.map(|name| values(answer, name))
}

fn granted(origin: &str) -> [Vec<&str>; 3] {
    [vec![origin], vec!["true"], vec!["Origin"]]
}

const NOTHING: [Vec<&str>; 3] = [const { Vec::new() }; 3];

/// Origins, whether they are listed, and the list.
const CASES: [(&[&str], &str, bool); 12] = [
    (&["https://a.example"], "https://a.example", true),
    (&["https://a.example"], "https://A.example:443", true),
    (&["https://b.example", "https://a.example"], "https://a.example", true),
    (&["https://*.example"], "https://a.b.example", true),
    (&["*"], "https://a.example", true),
    (&["*"], "null", true),
    (&["null"], "null", true),
    (&["file://"], "file://", true),
    (&["*"], "moz-extension://0a1b2c3d", true),
    // Looks like the page's own, since TLS may end in front of the server.
    (&["http://h"], "http://h", true),
    (&["*"], "https://h", true),
    (&[], "http://h", false),
];

#[test]
fn a_page_of_a_listed_origin_is_told_its_own_name_and_may_send_cookies() {
    for (list, origin, is_listed) in CASES {
        let mut world = World::with(listing(list));
        let expected = if is_listed { granted(origin) } else { NOTHING };
        let field = format!("Origin: {origin}\r\n");
        let (status, opened) = world.answer(&request("GET", POLLING, &field));
        assert_eq!((&*status, grant(&opened)), ("200", expected.clone()), "{list:?} {origin}");
        // A POST, whose answer waits for its body.
        let target = format!("{POLLING}&sid={}", sid_of(opened.as_bytes()));
        let (client, id) = world.connect();
        let post = request("POST", &target, &format!("{field}Content-Length: 2\r\n"));
        world.say(&client, id, format!("{post}4").as_bytes());
        world.say(&client, id, b"0");
        let heard = String::from_utf8(client.heard()).expect("text");
        assert!(heard.ends_with("ok") && grant(&heard) == expected, "{list:?} {origin}: {heard}");
        // What the answer to its CONNECT is, and then a poll that is held for long.
        world.say(&client, id, request("GET", &target, &field).as_bytes());
        assert_eq!(grant(&String::from_utf8(client.heard()).expect("text")), expected);
        world.say(&client, id, request("GET", &target, &field).as_bytes());
        let (publisher, publisher_id) = world.session();
        world.say(&publisher, publisher_id, &frame(1, b"hello"));
        let heard = String::from_utf8(client.heard()).expect("text");
        assert!(heard.contains("hello") && grant(&heard) == expected, "{list:?} {origin}");
        // Refusals, too, or the page does not know why.
        for target in [&*format!("{POLLING}&sid=nobody"), "/socket.io/?EIO=4"] {
            let (status, heard) = world.answer(&request("GET", target, &field));
            assert_eq!((&*status, grant(&heard)), ("400", expected.clone()), "{origin}");
        }
    }
}

#[test]
fn a_request_that_is_refused_for_want_of_room_or_for_its_haste_can_be_read_too() {
    let field = "Origin: https://a.example\r\n";
    let mut world = World::with(|settings| {
        listing(&["https://*.example"])(settings);
        settings.limits.connections_max = 1;
    });
    let (_, opened) = world.answer(&request("GET", POLLING, field));
    let (status, heard) = world.answer(&request("GET", POLLING, field));
    assert_eq!((&*status, grant(&heard)), ("503", granted("https://a.example")));
    // The second poll of two ends the session, and both are answered.
    let target = format!("{POLLING}&sid={}", sid_of(opened.as_bytes()));
    let (held, held_id) = world.connect();
    world.say(&held, held_id, request("GET", &target, field).as_bytes());
    let (status, heard) = world.answer(&request("GET", &target, field));
    assert_eq!((&*status, grant(&heard)), ("400", granted("https://a.example")));
    let heard = String::from_utf8(held.heard()).expect("text");
    assert_eq!(grant(&heard), granted("https://a.example"), "{heard}");
}

#[test]
fn nothing_is_repeated_that_cannot_stand_in_an_answer() {
    let long = format!("https://{}", "a".repeat(505));
    for (origin, is_repeated) in [
        ("https://a.example/", true),
        (&long[..512], true),
        (&long, false),
        ("https://\u{fc}.example", false),
        ("https://a.example https://b.example", false),
        ("https://a.example\thttps://b.example", false),
        ("", false),
    ] {
        let mut world = World::with(listing(&["*"]));
        let (status, heard) =
            world.answer(&request("GET", POLLING, &format!("Origin: {origin}\r\n")));
        let expected = if is_repeated { granted(origin) } else { NOTHING };
        assert_eq!((&*status, grant(&heard)), ("200", expected), "{origin:?}");
    }
    // Two origins are nobody's.
    let mut world = World::with(listing(&["*"]));
    let fields = "Origin: https://a.example\r\nOrigin: https://a.example\r\n";
    let (status, heard) = world.answer(&request("GET", POLLING, fields));
    assert_eq!((&*status, grant(&heard)), ("403", NOTHING));
}

#[test]
fn an_answer_that_waited_without_memory_for_an_origin_names_none() {
    let origin = format!("https://{}", "a".repeat(300));
    let field = format!("Origin: {origin}\r\n");
    let mut world = World::with(listing(&["*"]));
    let (client, id) = world.connect();
    world.say(&client, id, request("GET", POLLING, &field).as_bytes());
    let opened = String::from_utf8(client.heard()).expect("text");
    assert_eq!(grant(&opened), granted(&origin));
    let target = format!("{POLLING}&sid={}", sid_of(opened.as_bytes()));
    let post = |world: &mut World, packet: &str| {
        let length = packet.len();
        let head = request("POST", &target, &format!("{field}Content-Length: {length}\r\n"));
        world.say(&client, id, format!("{head}{packet}").as_bytes());
        String::from_utf8(client.heard()).expect("text")
    };
    assert_eq!(grant(&post(&mut world, "40")), granted(&origin));
    let _strangers = halves(&mut world);
    let heard = post(&mut world, "6");
    assert!(heard.ends_with("ok") && grant(&heard) == NOTHING, "{heard}");
    // Until the time of these strangers is over.
    world.pass(Duration::from_secs(13));
    let heard = post(&mut world, "6");
    assert!(heard.ends_with("ok") && grant(&heard) == granted(&origin), "{heard}");
}

/// The answer to a preflight for `POST` with these further fields.
fn preflight(list: &'static [&'static str], fields: &str) -> (String, String) {
    let mut world = World::with(listing(list));
    let fields = format!("Access-Control-Request-Method: POST\r\n{fields}");
    world.answer(&request("OPTIONS", POLLING, &fields))
}

#[test]
fn a_preflight_of_a_listed_origin_is_told_that_it_may_do_what_it_asks_for() {
    let long = format!("x-{}", "a".repeat(1022));
    for (list, origin, is_listed) in CASES {
        let field = format!("Origin: {origin}\r\n");
        for (asked, is_told) in [
            ("authorization", true),
            ("content-type,x-custom, X-Other", true),
            (&long[..], true),
            (&format!("{long}a"), false),
            ("", false),
            ("a b", false),
            ("a,,b", false),
            ("a;b", false),
            ("\"a\"", false),
            ("\u{e9}", false),
        ] {
            let asks = format!("{field}Access-Control-Request-Headers: {asked}\r\n");
            let (status, heard) = preflight(list, &asks);
            if !is_listed {
                assert_eq!((&*status, grant(&heard)), ("400", NOTHING), "{origin} {heard}");
                continue;
            }
            assert_eq!((&*status, grant(&heard)), ("204", granted(origin)), "{origin}");
            assert_eq!(values(&heard, "Access-Control-Allow-Methods"), ["POST"]);
            assert_eq!(values(&heard, "Access-Control-Max-Age"), ["600"]);
            let told = values(&heard, "Access-Control-Allow-Headers");
            assert_eq!(told, if is_told { vec![asked] } else { vec![] }, "{asked}");
        }
    }
}

#[test]
fn a_preflight_may_ask_for_no_field_or_another_method() {
    let origin = "Origin: https://a.example\r\n";
    let (status, heard) = preflight(&["*"], origin);
    assert_eq!((&*status, grant(&heard)), ("204", granted("https://a.example")));
    assert_eq!(values(&heard, "Access-Control-Allow-Headers"), [""; 0]);
    let mut world = World::with(listing(&["*"]));
    for (asked, told) in [("DELETE", "DELETE"), ("x y", "GET, POST"), ("", "GET, POST")] {
        let fields = format!("{origin}Access-Control-Request-Method: {asked}\r\n");
        let (status, heard) = world.answer(&request("OPTIONS", POLLING, &fields));
        assert_eq!(status, "204", "{asked}");
        assert_eq!(values(&heard, "Access-Control-Allow-Methods"), [told]);
    }
}

/// Files of a folder: a page, a script that is a module, a page in a folder.
fn with_files(list: &'static [&'static str]) -> World {
    let mut settings = crate::harness::settings();
    listing(list)(&mut settings);
    let file = |path: &str| File { path: path.to_owned(), bytes: b"x".to_vec() };
    let files = ["/index.html", "/client.js", "/folder/index.html"].map(file).to_vec();
    // The program's own page has the most fields of all.
    World::begin(settings, Site::new(files, true))
}

#[test]
fn a_page_of_a_listed_origin_may_load_files_and_caches_are_told_that_others_may_not() {
    for (list, origin, is_listed) in CASES {
        let granted = if is_listed { vec![origin] } else { vec![] };
        let varies = if list.is_empty() { vec![] } else { vec!["Origin"] };
        let field = format!("Origin: {origin}\r\n");
        for (target, expected) in
            [("/client.js", "200"), ("/", "200"), ("/folder/", "200"), ("/folder", "301")]
        {
            let mut world = with_files(list);
            for method in ["GET", "HEAD"] {
                let (status, heard) = world.answer(&request(method, target, &field));
                let told = [granted.clone(), vec![], varies.clone()];
                assert_eq!((&*status, grant(&heard)), (expected, told), "{list:?} {origin}");
            }
            let (_, heard) = world.answer(&request("GET", target, ""));
            assert_eq!(grant(&heard), [vec![], vec![], varies.clone()], "{list:?} {target}");
        }
        // What a browser has already is told anew to whom.
        let mut world = with_files(list);
        let (_, heard) = world.answer(&request("GET", "/client.js", ""));
        let fields = format!("{field}If-None-Match: {}\r\n", values(&heard, "etag")[0]);
        let (status, heard) = world.answer(&request("GET", "/client.js", &fields));
        let told = [granted, vec![], varies];
        assert_eq!((&*status, grant(&heard)), ("304", told), "{list:?} {origin}");
    }
}

#[test]
fn a_page_that_is_not_listed_may_load_no_file() {
    for origin in ["https://b.example", "http://a.example", "null", "*", "", "https://a.example, x"]
    {
        let mut world = with_files(&["https://a.example"]);
        let field = format!("Origin: {origin}\r\n");
        let (status, heard) = world.answer(&request("GET", "/client.js", &field));
        assert_eq!((&*status, grant(&heard)), ("200", [vec![], vec![], vec!["Origin"]]));
    }
    // Nor does a listed one learn of what is no file.
    let mut world = with_files(&["https://a.example"]);
    for target in ["/nothing", "/healthz", "/ws"] {
        let field = "Origin: https://a.example\r\n";
        let (_, heard) = world.answer(&request("GET", target, field));
        assert_eq!(grant(&heard), NOTHING, "{target}");
    }
}
