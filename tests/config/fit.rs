//! `--fit`: the ceiling stays within what the machine has for it, or the server does not start.
//!
//! The machine is a value here. That the shell reads it rightly is tested where it is read
//! (`src/shell/system.rs`), and with a limit on a real process in `tests/e2e/attack.test.mjs`.

use super::*;

const MIB: u64 = 1 << 20;

/// What a control group of this size has to itself, with descriptors enough.
fn group(memory_mib: u64) -> Machine {
    let memory_bytes = Some(memory_mib * MIB);
    Machine { memory_bytes, memory_is_shared: false, ..MACHINE }
}

/// A machine of this size that others share.
fn shared(memory_mib: u64) -> Machine {
    Machine { memory_is_shared: true, ..group(memory_mib) }
}

/// What of the machine's memory the ceiling may take, computed once more.
fn room_bytes(machine: &Machine) -> u64 {
    let memory_bytes = machine.memory_bytes.expect("the test says how much");
    let (taken, of) = if machine.memory_is_shared { (3, 4) } else { (15, 16) };
    memory_bytes * taken / of
}

fn fitted(machine: &Machine, args: &[&str]) -> Config {
    config_on(machine, &[&["--fit"], args].concat(), &[])
}

fn total_bytes(config: &Config) -> u64 {
    config.settings.limits.ceiling().total_bytes()
}

const NAMES: [&str; 4] = ["max-connections", "memory", "send-buffer", "receive-buffer"];

#[test]
fn without_it_nothing_is_derived_from_memory() {
    let config = config_on(&group(64), &[], &[]);
    assert_eq!(
        NAMES.map(|name| shown(&config, name)),
        ["65536 (default)", "64MiB (default)", "64KiB (default)", "32KiB (default)"]
    );
    let report = config.report(&group(64));
    assert!(!report.contains("\nfit: ") && report.contains("\nwarning: the memory ceiling, "));
}

#[test]
fn the_ceiling_fits_and_everything_derived_is_said_to_be() {
    for (machine, values) in [
        (group(416), ["1735", "48MiB", "16KiB", "8KiB"]),
        (shared(416), ["1360", "39MiB", "16KiB", "8KiB"]),
        (group(1024), ["4096", "120MiB", "20KiB", "10KiB"]),
        (shared(2048), ["4096", "192MiB", "60KiB", "30KiB"]),
        (group(64 * 1024), ["65536", "1GiB", "64KiB", "32KiB"]),
    ] {
        let config = fitted(&machine, &[]);
        let shown = NAMES.map(|name| shown(&config, name));
        assert_eq!(shown, values.map(|value| format!("{value} (derived)")), "{machine:?}");
        assert!(total_bytes(&config) <= room_bytes(&machine));
        assert_eq!(config.warnings(&machine), Vec::<String>::new());
    }
    // The variable says the same.
    let config = config_on(&group(416), &[], &[("ELBOW_FIT", "on")]);
    assert_eq!(shown(&config, "memory"), "48MiB (derived)");
    let line = "\nfit: the total stays within 390 MiB of 416 MiB, its control group's memory; ";
    assert!(config.report(&group(416)).contains(line));
}

#[test]
fn descriptors_bound_the_connections_too() {
    let machine = Machine { descriptors_hard: 1024, ..group(2048) };
    let config = fitted(&machine, &[]);
    assert_eq!(shown(&config, "max-connections"), "912 (derived)");
    assert_eq!(shown(&config, "send-buffer"), "64KiB (derived)", "these have room");
    // The places of the admin listener are in the ceiling as well.
    let admin = fitted(&machine, &["--admin-listen", "localhost:1"]);
    assert_eq!(shown(&admin, "max-connections"), "784 (derived)");
    let (without, with) = (fitted(&group(416), &[]), &["--admin-listen", "localhost:1"]);
    let with = fitted(&group(416), with);
    let places = |config: &Config| config.settings.limits.connections_max;
    assert_eq!(places(&without) - places(&with), CONNECTIONS_ADMIN);
}

#[test]
fn what_was_asked_for_stays_and_the_rest_is_derived_around_it() {
    let machine = group(416);
    let args = ["--max-connections", "500"];
    let config = fitted(&machine, &args);
    assert_eq!(
        NAMES.map(|name| shown(&config, name)),
        ["500 (flag)", "48MiB (derived)", "64KiB (derived)", "32KiB (derived)"]
    );
    let config = fitted(&machine, &["--send-buffer", "64KiB", "--memory", "16MiB"]);
    assert_eq!(shown(&config, "memory"), "16MiB (flag)");
    assert_eq!(shown(&config, "send-buffer"), "64KiB (flag)");
    assert_eq!(shown(&config, "receive-buffer"), "8KiB (derived)");
    assert!(total_bytes(&config) <= room_bytes(&machine));
    // More connections than beside an eighth of memory take from that.
    let config = fitted(&machine, &["--max-connections", "1900"]);
    assert_eq!(shown(&config, "memory"), "17MiB (derived)");
    assert!(total_bytes(&config) <= room_bytes(&machine));
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |machine: &Machine, args: &[&str]| {
        let (exit_code, line) = failure_on(machine, &[&["--fit"], args].concat(), &[]);
        assert_eq!(exit_code, 78, "{line}");
        line
    };
    let line = refused(&group(416), &["--max-connections", "5000"]);
    let begin = "--fit on (flag) with --max-connections 5000 (flag) needs 947.8 MiB, and there is \
                 room for 390 MiB: allowed is --max-connections 19";
    assert!(line.starts_with(begin) && line.ends_with(" or less"), "{line}");
    // The number that it names is the most that is taken.
    let most: usize = line.split_whitespace().rev().nth(2).unwrap().parse().unwrap();
    let (most, more) = (most.to_string(), (most + 1).to_string());
    fitted(&group(416), &["--max-connections", &most]);
    refused(&group(416), &["--max-connections", &more]);

    let line = refused(&group(416), &["--memory", "400MiB"]);
    assert!(line.contains(" with --memory 400MiB (flag) needs "), "{line}");
    assert!(line.contains("allowed is a machine or a control group with room for "), "{line}");
    let line = refused(&group(16), &[]);
    assert!(line.starts_with("--fit on (flag) needs "), "{line}");
    let line = refused(&MACHINE, &[]);
    assert!(line.contains("needs to know how much memory there is"), "{line}");
}

proptest! {
    #[test]
    fn whatever_the_machine_and_whatever_was_asked_for_it_fits_or_is_refused(
        memory_kib in 0_u64..1 << 32,
        memory_is_shared: bool,
        descriptors_hard in 113_u64..1 << 21,
        connections in proptest::option::of(1_u64..100_000),
        memory in proptest::option::of(6_u64..100_000),
        send in proptest::option::of(4_u64..1_000),
        receive in proptest::option::of(4_u64..1_000),
        others in proptest::sample::subsequence(
            vec!["--history=9", "--max-message=8MiB", "--max-channels=9999", "--feed=4MiB"],
            0..4,
        ),
    ) {
        let memory_bytes = Some(memory_kib * 1024);
        let machine = Machine { memory_bytes, memory_is_shared, descriptors_hard, ..MACHINE };
        let mut args: Vec<String> = others.iter().map(|other| (*other).to_owned()).collect();
        let mut flag = |name: &str, value: Option<u64>, unit: &str| {
            args.extend(value.map(|value| format!("--{name}={value}{unit}")));
        };
        flag("max-connections", connections, "");
        flag("memory", memory, "MiB");
        flag("send-buffer", send, "KiB");
        flag("receive-buffer", receive, "KiB");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match parse_on(&machine, &[&["--fit"], &args[..]].concat(), &[]) {
            Ok(Command::Run(config)) => {
                prop_assert!(total_bytes(&config) <= room_bytes(&machine));
                prop_assert!(config.settings.limits.connections_max >= 1);
                prop_assert_eq!(config.warnings(&machine), Vec::<String>::new());
                let given = [connections, memory, send, receive];
                for (name, given) in NAMES.iter().zip(given) {
                    let origin = if given.is_some() { " (flag)" } else { " (derived)" };
                    prop_assert!(shown(&config, name).ends_with(origin), "{}", name);
                }
            }
            Err(failure) => {
                prop_assert_eq!(failure.exit_code, 78);
                prop_assert!(!failure.line.chars().any(char::is_control), "{}", failure.line);
            }
            Ok(other) => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn more_memory_never_makes_anything_smaller() {
    for machine in [group, shared] {
        let mut before = [0; 4];
        for mib in (40..9_000).step_by(7) {
            let limits = fitted(&machine(mib), &[]).settings.limits;
            let now = [
                limits.connections_max as u64,
                limits.memory_bytes,
                limits.send_buffer_bytes.into(),
                limits.receive_buffer_bytes.into(),
            ];
            assert!(before.iter().zip(now).all(|(before, now)| *before <= now), "{mib} MiB");
            before = now;
        }
    }
}

/// The table of docs/OPERATIONS.md, as Markdown.
fn table() -> String {
    let mut text = String::from(
        "| memory | of | `--max-connections` | `--memory` | `--send-buffer` | `--receive-buffer` | \
         ceiling |\n|---|---|---|---|---|---|---|\n",
    );
    for (memory, mib) in [("416 MiB", 416), ("1 GiB", 1024), ("2 GiB", 2048)] {
        for (whose, machine) in [("a control group", group(mib)), ("a machine", shared(mib))] {
            let config = fitted(&machine, &[]);
            let value = |name| {
                let value = config.values.iter().find(|value| value.option.name == name);
                value.expect("every option is shown").text.clone()
            };
            let values = NAMES.map(value).join(" | ");
            let ceiling_mib = total_bytes(&config).div_ceil(MIB);
            text += &format!("| {memory} | {whose} | {values} | {ceiling_mib} MiB |\n");
        }
    }
    text
}

/// `UPDATE=1 cargo test --test config` writes the table instead of comparing it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the way to ask a test for more")]
fn the_documents_have_the_table_of_what_fits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md");
    let page = std::fs::read_to_string(path).expect("docs/OPERATIONS.md can be read");
    let (before, rest) = page.split_once("<!-- fit -->\n").expect("<!-- fit --> on a line");
    let (told, after) = rest.split_once("<!-- /fit -->").expect("<!-- /fit --> after it");
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{before}<!-- fit -->\n{table}<!-- /fit -->{after}");
        std::fs::write(path, page).expect("docs/OPERATIONS.md can be written");
        return;
    }
    assert_eq!(told, table);
}
