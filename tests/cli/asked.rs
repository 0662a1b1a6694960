//! Whom `elbow doctor` and `elbow top` ask, and with which token.

use super::MACHINE;
use elbow::config::{Asked, Command, Failure, Machine, TokenSource, parse};

fn asked(args: &[&str], env: &[(&str, &str)]) -> Result<Asked, Failure> {
    let args = ["elbow", "doctor"].into_iter().chain(args.iter().copied());
    let env = |name: &str| {
        env.iter().find(|(other, _)| *other == name).map(|(_, text)| (*text).to_owned())
    };
    let admin_credential = env("CREDENTIALS_DIRECTORY").is_some();
    let machine = Machine { admin_credential, ..MACHINE };
    let command = parse(args.map(Into::into), env, &machine)?;
    let Command::Doctor { asked, .. } = command else { panic!("{command:?}") };
    Ok(asked)
}

#[test]
fn the_flag_wins_over_the_variable_and_somebody_has_to_speak() {
    let address = |asked: Result<Asked, Failure>| {
        asked.map(|asked| format!("{}{}", asked.address, asked.path)).map_err(|it| it.line)
    };
    let variable = [("ELBOW_ADMIN_LISTEN", "0.0.0.0:9000")];
    assert_eq!(address(asked(&[], &variable)), Ok("127.0.0.1:9000/status".into()));
    let url = ["--url", "http://[::1]:81"];
    assert_eq!(address(asked(&url, &variable)), Ok("[::1]:81/status".into()));
    let url = ["--url", "http://127.0.0.1:81/"];
    assert_eq!(address(asked(&url, &[])), Ok("127.0.0.1:81/status".into()));
    let url = ["--url", "http://127.0.0.1:81/elbow/status"];
    assert_eq!(address(asked(&url, &[])), Ok("127.0.0.1:81/elbow/status".into()));
    let url = ["--url", "unix:/run/a"];
    assert_eq!(address(asked(&url, &[])), Ok("unix:/run/a/status".into()));
    for (args, env) in [
        (&[][..], &[][..]),
        (&[], &[("ELBOW_ADMIN_LISTEN", "127.0.0.1:0")]),
        (&["--url", "https://127.0.0.1/"], &variable),
    ] {
        let failure = asked(args, env).expect_err("nobody to ask");
        assert_eq!(failure.exit_code, 2, "{}", failure.line);
    }
}

#[test]
fn a_token_is_where_the_listener_has_it_and_shown_to_nobody() {
    let url = ["--url", "http://127.0.0.1:81", "--admin-token-file", "a"];
    let both = [("ELBOW_ADMIN_TOKEN", "secret"), ("ELBOW_ADMIN_TOKEN_FILE", "b")];
    let token = |args, env| asked(args, env).expect("whom to ask").token;
    assert_eq!(token(&url, &both), Some(TokenSource::File("a".into())));
    assert_eq!(token(&url[..2], &both), Some(TokenSource::File("b".into())));
    let text = token(&url[..2], &both[..1]);
    assert_eq!(text, Some(TokenSource::Variable("secret".into())));
    assert_eq!(format!("{text:?}"), "Some((set) by ELBOW_ADMIN_TOKEN)");
    assert_eq!(token(&url[..2], &[]), None);
    let credential = token(&url[..2], &[("CREDENTIALS_DIRECTORY", "/run/c")]);
    assert_eq!(credential, Some(TokenSource::Credential("/run/c/admin-token".into())));
}
