//! Packs the files of the program's own pages into one, which the program has in itself.
//!
//! What it leaves for `src/shell/files.rs`: the packed bytes, and a list of names and lengths.

use std::path::Path;
use std::{env, fs, io};

use miniz_oxide::{deflate, inflate};

/// The files, in folders of `www`.
const FILES: [&str; 9] = [
    "index.html",
    "style.css",
    "chat.js",
    "favicon.svg",
    "socket.io.js",
    "socket.io.export.js",
    "status/index.html",
    "status/status.css",
    "status/status.js",
];

/// The level of deflate that takes longest and packs best.
const BEST: u8 = 10;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write so")]
#[expect(clippy::disallowed_macros, reason = "a build script speaks to cargo by printing")]
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=www");
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let (mut bytes, mut lengths) = (Vec::new(), String::new());
    for name in FILES {
        let path = Path::new("www").join(name);
        let file = fs::read(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        lengths += &format!("({name:?}, {}), ", file.len());
        bytes.extend(file);
    }
    let packed = deflate::compress_to_vec(&bytes, BEST);
    assert_eq!(inflate::decompress_to_vec(&packed).ok(), Some(bytes));
    fs::write(Path::new(&folder).join("pages"), packed)?;
    fs::write(Path::new(&folder).join("pages.rs"), format!("&[{lengths}]"))
}
